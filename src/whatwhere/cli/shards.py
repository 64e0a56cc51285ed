"""`whatwhere shards`: a folder tree of images made into files that are fast to read."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from whatwhere.data import Index, Written

__all__ = ["Shards"]


@dataclass(frozen=True)
class Shards:
    """Write a folder of images as WebDataset shards, to be read with --data stream:OUT.

    SOURCE holds train and val (or test), each with a folder a class. Images keep their bytes unless --image-size says
    otherwise. Run it again after an interruption: finished shards are kept. The same source gives the same bytes.
    """

    source: tyro.conf.Positional[Path]
    """The folder of train and val."""
    out: tyro.conf.Positional[Path]
    """Folder for the shards and their index."""
    size_mb: float = 256
    """About so many million bytes a shard; each worker holds one in memory."""
    image_size: int | None = None
    """Scale larger images down to this shorter side, in pixels, and encode them anew as JPEG of quality 95."""
    workers: int | None = None
    """Threads; None: one a CPU, eight at most."""

    def run(self) -> int:
        """Write them and say what was written.

        Raises:
            WhatwhereError: as ``whatwhere.data.write_shards`` does.
        """
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from whatwhere.data import write_shards

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("images", total=None)

            def tell(written: "Written") -> None:
                bar.update(task, completed=written.images, total=written.total)
                if not console.is_terminal:
                    print(_line(written))

            index = write_shards(
                self.source,
                self.out,
                size_mb=self.size_mb,
                image_size=self.image_size,
                workers=self.workers,
                tell=tell,
            )
        print(_summary(self.out, index))
        return 0


def _line(written: "Written") -> str:
    shard = written.shard
    kept = ", kept" if written.kept else ""
    return f"{shard.name}: {len(shard.labels):,} images, {shard.bytes / 1e6:.1f} MB{kept}"


def _summary(out: Path, index: "Index") -> str:
    lines = [f"{out}: {len(index.classes):,} classes"]
    for part, shards in index.parts.items():
        images, size = sum(len(shard.labels) for shard in shards), sum(shard.bytes for shard in shards)
        lines.append(f"  {part}: {images:,} images in {len(shards):,} shards, {size / 1e6:,.1f} MB")
    return "\n".join([*lines, f"read them with --data stream:{out}"])
