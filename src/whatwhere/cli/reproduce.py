"""`whatwhere reproduce`: a table of a paper, run again."""

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from whatwhere.cli.machine import Machine

if TYPE_CHECKING:
    from whatwhere.papers import Reproduction

__all__ = ["Reproduce"]


@dataclass(frozen=True)
class Reproduce:
    """Train what fills a table of the BAM or CBAM paper, and set the paper's numbers beside what came of it.

    Tables: bam/1a, 1b, 1c, 2, 3a, 3b, 4a, 4b, 5 and cbam/1 to 7, of which bam/4a, 4b and cbam/6, 7 are of detectors
    (COCO, VOC 2007). Profiles: paper (what is known of the papers' training; what is not is marked), modern (bf16,
    compiled, averaged weights), short (one trial takes minutes on a GPU), smoke (a small host on embedded images: does
    everything run?). Run it again after an interruption: finished trials are skipped, broken-off ones go on; several
    processes or machines may share OUT. OUT/TABLE gets reproduction.json, table.md and report.html.

    For example: whatwhere reproduce bam/1b --profile smoke
    """

    table: Annotated[str, tyro.conf.Positional]
    """The table, such as bam/1b or cbam/4."""
    profile: Literal["paper", "modern", "short", "smoke"] = "paper"
    """How the rows are trained."""
    rows: str | None = None
    """Only these rows: hosts, arms or labels, separated by commas, regular expressions; the bare host always stays."""
    seeds: int | None = None
    """How many seeds each arm is trained with; None: the profile's, mostly 3."""
    dry_run: bool = False
    """Train nothing; say how many trials and images there are and how long they would take on this device."""
    also: str | None = None
    """Further arms for every host, separated by commas, as in compare: wider, deeper, extra_block, bam/frozen, ..."""
    host: str | None = None
    """A host to stand in for the table's, a detector with options such as :weights=FILE; the result says so."""
    data: str | None = None
    """Data to stand in for the table's; the result says so."""
    epochs: int | None = None
    """Epochs; None: the profile's."""
    limit: int | None = None
    """Use only so many training images."""
    out: Path | None = None
    """Folder for everything that is written; None: runs/PROFILE."""
    root: Path | None = None
    """Where the data lie (ROOT/imagenet, ROOT/coco, ROOT/VOCdevkit)."""
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)

    def run(self) -> int:
        """Run the trials, write table and report, and print the table; Markdown when stdout is not a terminal.

        Raises:
            WhatwhereError: as ``whatwhere.papers.reproduce`` does, before any training where it can be told.
        """
        from whatwhere.experiments import Watch, watcher
        from whatwhere.papers import as_grid, forecast, grid, reproduce
        from whatwhere.report import report
        from whatwhere.train.launch import is_first

        asked, out = self._asked(), self.out or Path("runs") / self.profile
        if self.dry_run:
            as_grid(forecast(asked, out, root=self.root)).show()
            return 0
        status = self.machine.begin("reproduce")
        if status is not None:
            return status
        command = shlex.join(["whatwhere", *sys.argv[1:]])
        watch = Watch() if self.machine.quiet else watcher()
        try:
            found = reproduce(asked, out, command=command, root=self.root, watch=watch, loggers=self.machine.loggers)
            if is_first():
                grid(found).show()
        finally:
            if is_first() and (out / asked.folder / "reproduction.json").exists():
                for path in report(out / asked.folder):
                    print(path, file=sys.stderr)
        return 0

    def _asked(self) -> "Reproduction":
        from whatwhere.papers import recipe

        changes = {"host": self.host, "data": self.data, "epochs": self.epochs}
        asked = recipe(self.table)(self.profile, seeds=self.seeds, limit=self.limit, **changes)
        if self.rows is not None:
            asked = asked.only(self.rows)
        arms = [arm.strip() for arm in (self.also or "").split(",") if arm.strip()]
        return asked.with_arms(arms)
