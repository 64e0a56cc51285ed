"""The rows of both papers' tables, with their figures as printed."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from whatwhere.errors import RunError, closest

__all__ = ["METRICS", "Row", "rows", "tables"]

METRICS = ("error_top1", "error_top5", "map50", "map75", "map")
_DETECTION = ("coco", "voc2007")


@dataclass(frozen=True)
class Row:
    """One row of one table: a host, what was put into it, and what the paper prints for it.

    Attributes:
        paper: 'bam' (Park et al. 2018, arXiv:1807.06514) or 'cbam' (Woo et al. 2018, arXiv:1807.06521).
        table: its number there, '1a' or '3'.
        dataset: 'cifar100', 'imagenet1k', 'coco' or 'voc2007'.
        host: a name that ``whatwhere.hosts.build`` takes; for detection rows ``whatwhere.detect.build``.
        printed_host: what the paper calls it. Where its count is that of another network, ``host`` is that other one.
        image_size: side of the images in pixels; None for detection.
        label: what tells the row apart from the others of its table and host.
        arm: 'none', a gate as ``whatwhere.gates.named`` takes it, or the control 'extra_block': the host's own block.
        at: where ``attach_`` puts it; None for the bare host.
        parameters: millions, as printed, or None.
        gmacs: the billions of multiply-accumulates of one image, which the papers call GFLOPs, as printed, or None.
        metrics: of METRICS those that the row has, as printed: errors in percent, mean average precision in percent.
        note: what the reader of the figure should know, or ''.
    """

    paper: str
    table: str
    dataset: str
    host: str
    printed_host: str
    image_size: int | None
    label: str
    arm: str
    at: str | None
    parameters: str | None
    gmacs: str | None
    metrics: Mapping[str, str]
    note: str

    @property
    def detection(self) -> bool:
        """Whether the row is about a detector."""
        return self.dataset in _DETECTION


def tables() -> tuple[str, ...]:
    """All tables, as ``rows`` takes them: 'bam/1a' to 'cbam/7'."""
    return tuple(_all())


def rows(table: str) -> tuple[Row, ...]:
    """The rows of one table ('bam/1b'), in the paper's order.

    Raises:
        RunError: there is no such table.
    """
    known = _all()
    if table not in known:
        raise RunError(
            f"rows({table!r}): the papers have no such table",
            closest=closest(table, known),
            fix=f"one of {', '.join(known)}",
        )
    return known[table]


@cache
def _all() -> Mapping[str, tuple[Row, ...]]:
    text = files("whatwhere").joinpath("papers/figures.csv").read_text(encoding="utf-8")
    found: dict[str, list[Row]] = {}
    for line in csv.DictReader(text.splitlines()):
        found.setdefault(f"{line['paper']}/{line['table']}", []).append(_row(line))
    return MappingProxyType({table: tuple(of_table) for table, of_table in found.items()})


def _row(line: Mapping[str, str]) -> Row:
    return Row(
        paper=line["paper"],
        table=line["table"],
        dataset=line["dataset"],
        host=line["host"],
        printed_host=line["printed_host"],
        image_size=int(line["image_size"]) if line["image_size"] else None,
        label=line["label"],
        arm=line["arm"],
        at=line["at"] or None,
        parameters=line["parameters"] or None,
        gmacs=line["gmacs"] or None,
        metrics=MappingProxyType({metric: line[metric] for metric in METRICS if line[metric]}),
        note=line["note"],
    )
