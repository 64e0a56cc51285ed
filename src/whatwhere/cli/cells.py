"""`whatwhere cells`: do the papers' parameters and multiply-accumulates come out here?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Cells"]


@dataclass(frozen=True)
class Cells:
    """Count parameters and multiply-accumulates of every row of both papers' tables, and compare the printed digits.

    Nothing is trained, computed or downloaded; all rows take about half a minute. The last line says how many of the
    printed figures agree. For example: whatwhere cells --table bam/3a
    """

    table: str | None = None
    """One table: bam/1a, bam/1c, bam/2, bam/3a, bam/3b, bam/4b, bam/5, cbam/1, cbam/2, cbam/4, cbam/5 or cbam/7."""

    def run(self) -> int:
        """Count and print; Markdown when standard output is not a terminal.

        Raises:
            WhatwhereError: the papers have no such table.
        """
        from whatwhere.papers.cells import as_grid, cells

        chosen = None if self.table is None else [self.table]
        with _progress() as tick:
            found = cells(chosen, tick)
        as_grid(found).show()
        print(f"{sum(cell.agrees for cell in found)} of {len(found)} cells agree")
        return 0


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where that is a terminal; it vanishes when all is counted."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("counting rows", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
