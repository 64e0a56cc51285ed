"""A summary as a table: one set of rows, in Markdown and on the terminal."""

from collections.abc import Mapping
from typing import Any

from whatwhere.experiments.grid import ABSENT, Grid
from whatwhere.experiments.measures import MEASURES, measure_of

__all__ = ["difference_words", "grid", "headers", "seeds_words"]

_HEADERS = (
    "arm",
    "at",
    "sites",
    "parameters",
    "MMACs",
    "kept kB",
    "ms",
    "{} %",
    "n",
    "difference [95 %]",
    "detectable",
    "p (Holm)",
    "verdict",
)
_WORDS = frozenset({"arm", "at", "verdict"})


def grid(summary: Mapping[str, Any]) -> Grid:
    """One row an arm, and the notes; n is "2 of 3" while seeds are pending."""
    measure = measure_of(summary)
    return Grid(headers(measure), [_row(arm, measure) for arm in summary["arms"]], _WORDS, summary["notes"])


def headers(measure: str) -> tuple[str, ...]:
    """The columns of a comparison by ``measure``."""
    return tuple(head.format(MEASURES[measure]) for head in _HEADERS)


def _row(arm: Mapping[str, Any], measure: str) -> tuple[str, ...]:
    score, difference = arm[measure], arm["difference"]
    return (
        arm["gate"],
        arm["at"] or ABSENT,
        str(len(arm["sites"])) if arm["at"] else ABSENT,
        f"{arm['parameters']:,}",
        f"{arm['macs_per_image'] / 1e6:.2f}",
        f"{arm['bytes_kept_per_image'] / 1e3:,.0f}",
        ABSENT if arm["ms_per_image"] is None else f"{arm['ms_per_image']:.3g}",
        _mean_and_sd(score),
        seeds_words(score["n"] if score else 0, arm.get("declared")),
        *difference_words(difference),
    )


def seeds_words(n: int, declared: int | None) -> str:
    """How many seeds there are, and of how many where some are pending; old summaries declare none."""
    return str(n) if declared is None or n >= declared else f"{n} of {declared}"


def difference_words(difference: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    """A difference with its interval, the smallest that could have been seen, the corrected p, and the verdict."""
    if difference is None:
        return (ABSENT,) * 4
    return (
        _interval(difference),
        f"±{difference['detectable']:.2f}" if difference.get("detectable") else ABSENT,  # summaries of 0.1.0 lack it
        _p(difference["p_holm"]),
        str(difference["verdict"]),
    )


def _mean_and_sd(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return ABSENT
    return f"{score['mean']:.2f}" + ("" if score["sd"] is None else f" ± {score['sd']:.2f}")


def _interval(difference: Mapping[str, Any]) -> str:
    if difference["mean"] is None:
        return ABSENT
    text = f"{difference['mean']:+.2f}"
    return text if difference["low"] is None else f"{text} [{difference['low']:+.2f}, {difference['high']:+.2f}]"


def _p(p: float | None) -> str:
    if p is None:
        return ABSENT
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
