"""`whatwhere report`: a folder of trials as one page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Write a folder of trials as one HTML file, and its tables as Markdown and CSV beside it. Nothing is trained.

    The page needs no network: tables that sort, learning curves, accuracy against cost, what the gates did, recipe and
    provenance. A folder that is still being filled is reported as far as it has come.

    For example: whatwhere report runs/compare
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """What `whatwhere compare` or `whatwhere reproduce` wrote."""
    out: Path | None = None
    """The HTML file, or a folder for report.html; None: FOLDER itself. The others get its name with .md and .csv."""

    def run(self) -> int:
        """Write the files and print where they are.

        Raises:
            WhatwhereError: the folder is no such folder, or the files cannot be written.
        """
        from whatwhere.report import report

        for path in report(self.folder, self.out):
            print(path)
        return 0
