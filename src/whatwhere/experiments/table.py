"""A summary as a table: one set of rows, in Markdown and on the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["HEADERS", "markdown", "rich_table", "rows"]

HEADERS = (
    "arm",
    "at",
    "sites",
    "parameters",
    "MMACs",
    "kept kB",
    "ms",
    "accuracy %",
    "n",
    "difference [95 %]",
    "p (Holm)",
    "verdict",
)
_TEXT = {"arm", "at", "verdict"}
_ABSENT = "–"


def rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row of words an arm, in the order of ``HEADERS``."""
    return [_row(arm) for arm in summary["arms"]]


def markdown(summary: Mapping[str, Any]) -> str:
    """The table and its notes as Markdown."""
    rule = tuple("---" if header in _TEXT else "---:" for header in HEADERS)
    lines = [_markdown_line(cells) for cells in (HEADERS, rule, *rows(summary))]
    return "\n".join([*lines, "", *(f"- {note}" for note in summary["notes"])]) + "\n"


def rich_table(summary: Mapping[str, Any]) -> "Table":
    """The table and its notes for a terminal."""
    from rich.table import Table
    from rich.text import Text

    caption = Text("\n".join(summary["notes"]), style="dim")
    table = Table(caption=caption, caption_justify="left")
    for header in HEADERS:
        table.add_column(header, justify="left" if header in _TEXT else "right", overflow="fold")
    for cells in rows(summary):
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _row(arm: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy, difference = arm["accuracy"], arm["difference"]
    return (
        arm["gate"],
        arm["at"] or _ABSENT,
        str(len(arm["sites"])) if arm["at"] else _ABSENT,
        f"{arm['parameters']:,}",
        f"{arm['macs_per_image'] / 1e6:.2f}",
        f"{arm['bytes_kept_per_image'] / 1e3:,.0f}",
        _ABSENT if arm["ms_per_image"] is None else f"{arm['ms_per_image']:.3g}",
        _mean_and_sd(accuracy),
        str(accuracy["n"]) if accuracy else "0",
        _difference(difference),
        _p(difference),
        _verdict(difference),
    )


def _mean_and_sd(accuracy: Mapping[str, Any] | None) -> str:
    if accuracy is None:
        return _ABSENT
    return f"{accuracy['mean']:.2f}" + ("" if accuracy["sd"] is None else f" ± {accuracy['sd']:.2f}")


def _difference(difference: Mapping[str, Any] | None) -> str:
    if difference is None or difference["mean"] is None:
        return _ABSENT
    text = f"{difference['mean']:+.2f}"
    return text if difference["low"] is None else f"{text} [{difference['low']:+.2f}, {difference['high']:+.2f}]"


def _p(difference: Mapping[str, Any] | None) -> str:
    if difference is None or difference["p_holm"] is None:
        return _ABSENT
    return "< 0.001" if difference["p_holm"] < 0.001 else f"{difference['p_holm']:.3f}"


def _verdict(difference: Mapping[str, Any] | None) -> str:
    return _ABSENT if difference is None else str(difference["verdict"])


def _markdown_line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
