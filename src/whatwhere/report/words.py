"""Numbers as words: how the report writes a figure, an interval, a p."""

from collections.abc import Mapping
from typing import Any

from whatwhere.report.arms import number

__all__ = [
    "ABSENT",
    "count",
    "duration",
    "fixed",
    "interval",
    "mean_and_sd",
    "p_value",
    "short",
    "signed",
    "value_and_interval",
]

ABSENT = "–"


def count(value: float | None) -> str:
    """A whole number with separators."""
    return ABSENT if value is None else f"{value:,.0f}"


def fixed(value: float | None, digits: int = 2) -> str:
    """So many digits behind the point."""
    return ABSENT if value is None else _minus(f"{value:.{digits}f}")


def signed(value: float | None) -> str:
    """With its sign and two digits behind the point."""
    return ABSENT if value is None else _minus(f"{value:+.2f}")


def short(value: float | None, digits: int = 3) -> str:
    """So many significant digits, however large or small."""
    return ABSENT if value is None else _minus(f"{value:.{digits}g}")


def interval(low: float | None, high: float | None) -> str:
    """``[low, high]`` with signs."""
    return ABSENT if low is None or high is None else f"[{signed(low)}, {signed(high)}]"


def mean_and_sd(moments: Mapping[str, Any]) -> str:
    """``mean ± sd``; the mean alone for one value."""
    mean, sd = number(moments.get("mean")), number(moments.get("sd"))
    return fixed(mean) if mean is None or sd is None else f"{fixed(mean)} ± {fixed(sd)}"


def value_and_interval(difference: Mapping[str, Any]) -> str:
    """``+mean [low, high]``; the mean alone where there is no interval."""
    mean, low, high = (number(difference.get(key)) for key in ("mean", "low", "high"))
    return signed(mean) if mean is None or low is None or high is None else f"{signed(mean)} {interval(low, high)}"


def p_value(value: float | None) -> str:
    """Three digits behind the point."""
    if value is None:
        return ABSENT
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """In the unit that makes it a number of few digits."""
    if seconds is None:
        return ABSENT
    size, unit = next((pair for pair in ((3600, "h"), (60, "min")) if seconds >= 2 * pair[0]), (1, "s"))
    return f"{seconds / size:.1f} {unit}"


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text
