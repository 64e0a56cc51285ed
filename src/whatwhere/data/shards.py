"""Shards as a source of images: found, held against their index, and put in an order that a disk likes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from whatwhere.data.readers import Place
from whatwhere.data.shard_index import INDEX, Index, Shard, cached_index, read_index
from whatwhere.data.shard_scan import scan
from whatwhere.errors import DataError

__all__ = ["Sharded", "has_shards", "open_shards"]

_TOGETHER = 16
"""Shards that are read at the same time."""
_BLOCK = 8
"""Images read one after the other: 0.9 MB of ImageNet, which on a spinning disk takes about as long as finding them."""
_SORTED = 0.9


@dataclass(frozen=True, eq=False)
class Sharded:
    """The images of one part, shard by shard, each in the order of its bytes.

    Args:
        paths: of the shards.
        shard: int64 (N,), ascending, the shard that each image lies in.
        starts: int64 (N,), its first byte.
        sizes: int64 (N,), its bytes.
        labels: int64 (N,).
    """

    paths: list[str]
    shard: Tensor
    starts: Tensor
    sizes: Tensor
    labels: Tensor

    @classmethod
    def of(cls, root: Path, shards: Sequence[Shard]) -> "Sharded":
        counts = torch.tensor([len(shard.labels) for shard in shards])
        columns = ([getattr(shard, name) for shard in shards] for name in ("starts", "sizes", "labels"))
        starts, sizes, labels = (
            torch.tensor([number for column in one for number in column], dtype=torch.int64) for one in columns
        )
        paths = [str(root / shard.name) for shard in shards]
        return cls(paths, torch.arange(len(paths)).repeat_interleave(counts), starts, sizes, labels)

    def take(self, indices: Tensor) -> "Sharded":
        """Those at ``indices``, which are ascending."""
        columns = {name: getattr(self, name)[indices] for name in ("shard", "starts", "sizes", "labels")}
        return replace(self, **columns)

    def places(self, indices: Tensor) -> list[Place]:
        """Where the images at ``indices`` lie."""
        columns = (column[indices].tolist() for column in (self.shard, self.starts, self.sizes))
        return [Place(self.paths[shard], start, size) for shard, start, size in zip(*columns, strict=True)]

    def order(self, generator: torch.Generator) -> Tensor:
        """A permutation, int64 (N,): shards are shuffled and opened sixteen at a time, and the blocks of eight
        neighbouring images of those sixteen are shuffled.

        Each block is read from its beginning to its end. Where blocks begin is drawn anew each time, so neighbours do
        not stay together. That mixes well because shards hold their images in random order; where they do not, and
        nine neighbours in ten are of one class, every image is drawn for itself, at the price of more seeking.
        """
        count = len(self.labels)
        if count > 1 and float((self.labels[1:] == self.labels[:-1]).float().mean()) > _SORTED:
            return torch.randperm(count, generator=generator)
        shards = len(self.paths)
        group = (torch.randperm(shards, generator=generator) // _TOGETHER)[self.shard]
        shift = torch.randint(_BLOCK, (shards,), generator=generator)[self.shard]
        first = torch.searchsorted(self.shard, torch.arange(shards))[self.shard]
        within = (torch.arange(count) - first + shift) // _BLOCK
        begins = torch.ones(count, dtype=torch.bool)
        begins[1:] = (self.shard[1:] != self.shard[:-1]) | (within[1:] != within[:-1])
        block = begins.cumsum(0) - 1
        blocks = int(begins.sum())
        drawn = torch.randperm(blocks, generator=generator)[block]
        return (group * blocks + drawn).argsort(stable=True)


def has_shards(root: Path) -> bool:
    """Whether there are shards in a folder, or were."""
    return (root / INDEX).exists() or any(root.glob("*.tar"))


def open_shards(
    call: str, root: Path, *, cache: Path, fix: str, names: tuple[str, ...] = ("train", "val", "test")
) -> tuple[tuple[str, ...], dict[str, Sharded]]:
    """Class names, and the shards of each part there is.

    Without an index the shards are read through once (see `scan`), and the index is left among them, or in ``cache``
    where that folder is closed. With one, the shards' names and lengths are held against it; a shard changed without
    another length is noticed only where it no longer holds an image.

    Args:
        call: the call as the user wrote it, for messages.
        root: the folder of the shards.
        cache: where an index may go.
        fix: what to do where parts are missing.
        names: of the parts to look for.

    Raises:
        DataError: parts or shards are missing, broken off or not what the index says.
        OSError: the system refuses.
    """
    places = cached_index(root, cache)
    there = next((path for path in places if path.exists()), None)
    index = scan(call, root) if there is None else read_index(call, there, root)
    parts = {name: Sharded.of(root, index.parts[name]) for name in names if index.parts.get(name)}
    if "train" not in parts or len(parts) < 2:
        raise DataError(
            f"{call}: the folder must hold shards of 'train' and of one of 'val' and 'test'",
            got=f"{root}: {', '.join(parts) or 'none of them'}",
            fix=fix,
        )
    if there is None:
        _keep(index, places)
    return index.classes, parts


def _keep(index: Index, places: Sequence[Path]) -> None:
    for path in places:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            index.write(path)
            return
