"""Mean, spread and interval of a handful of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LEVEL", "Moments", "describe"]

LEVEL = 0.95
"""Of every interval."""
# Below this share of the values' size, a spread is rounding and not variation between seeds.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Moments:
    """Mean of ``n`` values, their standard deviation (n - 1), and the 95 % t interval of the mean.

    ``sd``, ``low`` and ``high`` are None for one value; ``low`` and ``high`` also when all values are the same.
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


def describe(values: Sequence[float]) -> Moments:
    """Mean, standard deviation and 95 % t interval of ``values`` (at least one).

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    n = len(values)
    if n == 0:
        raise ValueError("describe(values): there are no values")
    odd = [value for value in values if not math.isfinite(value)]
    if odd:
        raise ValueError(f"describe(values): {odd[0]} is not finite")
    mean = math.fsum(values) / n
    if n == 1:
        return Moments(1, mean, None, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    if sd <= _ROUNDING * max(1.0, *(abs(value) for value in values)):
        return Moments(n, mean, 0.0, None, None)
    half = _quantile(n - 1) * sd / math.sqrt(n)
    return Moments(n, mean, sd, mean - half, mean + half)


def _quantile(freedom: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))
