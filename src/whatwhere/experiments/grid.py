"""A table of words, as Markdown and for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ABSENT", "Grid"]

ABSENT = "–"


@dataclass(frozen=True)
class Grid:
    """Rows of words under headers, with notes below.

    Args:
        headers: of the columns.
        rows: as many words each.
        words: headers of the columns that hold words; the others hold numbers and are set to the right.
        notes: lines below the table.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[str]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """The table and its notes as Markdown."""
        rule = ["---" if header in self.words else "---:" for header in self.headers]
        lines = [_line(cells) for cells in (self.headers, rule, *self.rows)]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip("\n") + "\n"

    def rich(self) -> "Table":
        """The table and its notes for a terminal."""
        from rich.table import Table
        from rich.text import Text

        caption = Text("\n".join(self.notes), style="dim") if self.notes else None
        table = Table(caption=caption, caption_justify="left")
        for header in self.headers:
            table.add_column(header, justify="left" if header in self.words else "right", overflow="fold")
        for cells in self.rows:
            table.add_row(*(Text(cell) for cell in cells))
        return table

    def show(self) -> None:
        """Print it: boxed on a terminal, as Markdown elsewhere."""
        from rich.console import Console

        console = Console()
        if console.is_terminal:
            console.print(self.rich())
        else:
            print(self.markdown(), end="")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
