"""Axes: where a value falls, as a share of the axis, and the round values that are written beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Axis", "axis"]


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high``, with what it shows and its ticks: (percent of the length, text)."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Where ``value`` falls, in percent; outside 0 to 100 for values beyond the ends."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


def axis(title: str, values: Sequence[float], *, margin: float = 0.0, whole: bool = False, ticks: int = 6) -> Axis:
    """An axis that holds all ``values`` (at least one), with about so many round ticks.

    Args:
        title: what it shows.
        values: to be held.
        margin: room at both ends, as a share of the values' range.
        whole: whether only whole numbers are written.
        ticks: at most about so many.
    """
    low, high = min(values), max(values)
    if high <= low:
        around = 0.5 if whole else 0.05 * abs(low) or 1.0
        low, high = low - around, high + around
    low, high = low - margin * (high - low), high + margin * (high - low)
    step = _round_step((high - low) / ticks)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    at = [place * step for place in range(first, last + 1)]
    length = high - low
    return Axis(title, low, high, tuple((round(100 * (value - low) / length, 2), _text(value, step)) for value in at))


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * (1 - 1e-9))


def _text(value: float, step: float) -> str:
    size = max(abs(value), step)
    unit, letter = next((pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if size >= pair[0]), (1.0, ""))
    digits = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    return f"{value / unit:.{digits}f}{letter}".replace("-", "−")
