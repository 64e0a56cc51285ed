"""The paper's figures beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from whatwhere.experiments.measures import MEASURES, measure_of
from whatwhere.report.arms import number
from whatwhere.report.tables import Cell, Column, Table
from whatwhere.report.words import ABSENT, fixed, signed, value_and_interval

__all__ = ["metric_name", "paper_rows", "paper_table"]

_METRICS = {
    "error_top1": "top-1 error %",
    "error_top5": "top-5 error %",
    "map50": "mAP@.5 %",
    "map75": "mAP@.75 %",
    "map": "mAP@[.5, .95] %",
}


def metric_name(key: str) -> str:
    """What a metric of the papers is called in a table's head."""
    return _METRICS.get(key, key.replace("_", " "))


def paper_rows(reproduction: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of ``reproduction.json`` that are rows."""
    rows = reproduction.get("rows")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def paper_table(reproduction: Mapping[str, Any]) -> Table:
    """One row for each of the paper's: its figures, ours, and how far ours are.

    The gap between two figures is left out where hosts or data stand in for the paper's: it would mean nothing.
    """
    rows = paper_rows(reproduction)
    metrics = list(
        dict.fromkeys(key for row in rows for side in ("paper", "ours") for key in _part(row, side, "metrics"))
    )
    measure = MEASURES[measure_of(reproduction)]
    gap = not reproduction.get("stand_ins")
    columns = [Column("row", numeric=False, help="as the paper prints it"), Column("arm", numeric=False)]
    for key in metrics:
        columns += [
            Column(f"{metric_name(key)}, paper"),
            Column(f"{metric_name(key)}, ours", help="mean ± standard deviation over the seeds, 95 % t interval"),
            *([Column("ours − paper", help=f"{metric_name(key)}, in points")] if gap else []),
        ]
    columns += [
        Column("n", help="seeds that are finished, of those declared"),
        Column(f"{measure} difference", help="to none, ours, in percentage points, paired by seed, 95 % t interval"),
        Column("verdict", numeric=False),
        Column("parameters, paper", help="millions"),
        Column("parameters, ours", help="millions"),
        Column("GMACs, paper"),
        Column("GMACs, ours"),
        Column("host", numeric=False, help="what was trained"),
        Column("at", numeric=False),
    ]
    title = str(reproduction.get("title") or reproduction.get("table") or "the paper's table")
    return Table(title, columns, [_row(row, metrics, gap) for row in rows])


def _row(row: Mapping[str, Any], metrics: Sequence[str], gap: bool) -> list[Cell]:
    own, ran = row.get("host"), row.get("ran_host")
    paper, ours = _part(row, "paper"), _part(row, "ours")
    cells = [
        Cell(" · ".join(str(word) for word in (row.get("printed_host") or own, row.get("label")) if word) or ABSENT),
        Cell(str(row.get("arm") or ABSENT)),
    ]
    for key in metrics:
        cells += _metric(_part(paper, "metrics").get(key), _part(ours, "metrics", key), gap)
    return [
        *cells,
        *_standing(ours),
        *_pair(paper.get("parameters"), number(ours.get("parameters")), 1e6),
        *_pair(paper.get("gmacs"), number(ours.get("macs")), 1e9),
        Cell(f"{ran} for {own}" if ran and str(ran).partition(":")[0] != own else str(ran or own or ABSENT)),
        Cell(str(row.get("at") or ABSENT)),
    ]


def _standing(ours: Mapping[str, Any]) -> list[Cell]:
    """How many seeds are in, the difference to the bare host, and what it allows one to say."""
    n, declared = number(ours.get("n")) or 0, number(ours.get("declared"))
    difference = _part(ours, "difference")
    pending = declared is None or n < declared
    verdict = f"pending ({n:.0f} of {declared or 0:.0f} seeds)" if pending else str(difference.get("verdict", ABSENT))
    return [
        Cell(f"{n:.0f} of {declared:.0f}" if declared is not None and pending else f"{n:.0f}", n),
        Cell(value_and_interval(difference), number(difference.get("mean"))),
        Cell(verdict, strong=pending or verdict in ("better", "worse")),
    ]


def _metric(printed: Any, ours: Mapping[str, Any], gap: bool) -> list[Cell]:
    theirs, mean = _printed(printed), number(ours.get("mean"))
    sd, low, high = (number(ours.get(key)) for key in ("sd", "low", "high"))
    text = fixed(mean) + ("" if sd is None else f" ± {fixed(sd)}")
    if low is not None and high is not None:
        text += f" [{fixed(low)}, {fixed(high)}]"
    cells = [Cell(_said(printed), theirs), Cell(text, mean)]
    if gap:
        apart = None if theirs is None or mean is None else mean - theirs
        cells.append(Cell(signed(apart), apart))
    return cells


def _pair(printed: Any, ours: float | None, unit: float) -> list[Cell]:
    """Theirs as printed, and ours with as many digits."""
    digits = len(str(printed).partition(".")[2]) if printed is not None else 2
    value = None if ours is None else ours / unit
    small = value is not None and value < 10**-digits * 10
    text = ABSENT if value is None else f"{value:.2g}" if small else f"{value:.{digits}f}"
    return [Cell(_said(printed), _printed(printed)), Cell(text, value)]


def _said(printed: Any) -> str:
    return ABSENT if printed is None else str(printed)


def _printed(printed: Any) -> float | None:
    """The number that the paper prints, which is kept as its digits."""
    try:
        return number(float(printed))
    except (TypeError, ValueError):
        return None


def _part(row: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """What lies under the keys; {} where that is no object."""
    found: Any = row
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
