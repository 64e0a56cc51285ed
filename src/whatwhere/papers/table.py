"""A reproduction as a table: the paper's figures beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from whatwhere.experiments.grid import ABSENT, Grid
from whatwhere.experiments.measures import MEASURES, measure_of
from whatwhere.experiments.table import difference_words, seeds_words

__all__ = ["grid"]

_COSTS = ("host", "row", "arm", "paper M", "ours M", "paper GMACs", "ours GMACs")
_STATEMENTS = ("n", "{} difference [95 %]", "detectable", "p (Holm)", "verdict")
_METRICS = {
    "error_top1": "error",
    "error_top5": "top-5 error",
    "map50": "mAP@.5",
    "map75": "mAP@.75",
    "map": "mAP@[.5, .95]",
}
_WORDS = frozenset({"host", "row", "arm", "verdict"})


def grid(found: Mapping[str, Any]) -> Grid:
    """The rows of what ``reproduce`` returns, and its notes."""
    stand_ins = [f"Not the paper's experiment: {'; '.join(found['stand_ins'])}."] if found["stand_ins"] else []
    unverified = [f"Unverified: {words}." for words in found["unverified"]]
    notes = [f"{found['title']}; profile {found['profile']}.", *stand_ins, *found["notes"], *unverified]
    metrics = [key for key in _METRICS if any(key in row["paper"]["metrics"] for row in found["rows"])]
    figures = [f"{whose} {_METRICS[key]} %" for key in metrics for whose in ("paper", "ours")]
    statements = [head.format(MEASURES[measure_of(found)]) for head in _STATEMENTS]
    return Grid((*_COSTS, *figures, *statements), [_cells(row, metrics) for row in found["rows"]], _WORDS, notes)


def _cells(row: Mapping[str, Any], metrics: Sequence[str]) -> tuple[str, ...]:
    paper, ours = row["paper"], row["ours"] or {}
    swapped = f" ({row['ran_host']})" if row["ran_host"].partition(":")[0] != row["host"] else ""
    return (
        row["printed_host"] + swapped,
        row["label"],
        row["arm"],
        paper["parameters"] or ABSENT,
        f"{ours['parameters'] / 1e6:.3f}" if ours else ABSENT,
        paper["gmacs"] or ABSENT,
        f"{ours['macs'] / 1e9:.3f}" if ours else ABSENT,
        *(cell for key in metrics for cell in _metric(key, paper["metrics"], ours.get("metrics", {}))),
        seeds_words(ours["n"], ours["declared"]) if ours else ABSENT,
        *difference_words(ours.get("difference")),
    )


def _metric(key: str, paper: Mapping[str, str], ours: Mapping[str, Any]) -> tuple[str, str]:
    return paper.get(key, ABSENT), _moments(ours.get(key))


def _moments(moments: Mapping[str, Any] | None) -> str:
    if not moments:
        return ABSENT
    text = f"{moments['mean']:.2f}"
    return text if moments["low"] is None else f"{text} [{moments['low']:.2f}, {moments['high']:.2f}]"
