"""The objects of many images in a few tensors: 860,000 of them in 27 MB."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from whatwhere.data.detection import Objects

__all__ = ["Packed", "join", "pack", "select"]


@dataclass(frozen=True, eq=False)
class Packed:
    """The objects of M images, N in all, those of an image one after the other.

    Attributes:
        objects: of all images.
        offsets: int64 (M + 1,), where those of each image begin and, at the end, N.
    """

    objects: Objects
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, index: int) -> Objects:
        """Those of one image, without a copy."""
        return select(self.objects, slice(int(self.offsets[index]), int(self.offsets[index + 1])))

    def take(self, indices: Tensor) -> Self:
        """Those of the images at ``indices``, int64 (K,), in that order."""
        starts, counts = self.offsets[indices], self.offsets.diff()[indices]
        ends = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))
        rows = torch.arange(int(ends[-1])) + (starts - ends[:-1]).repeat_interleave(counts)
        return type(self)(select(self.objects, rows), ends)


def pack(objects: Objects, images: Tensor, count: int) -> Packed:
    """Objects in any order, brought into that of their images; those of one image keep theirs.

    Args:
        objects: N of them.
        images: int64 (N,), the image that each is in.
        count: of images.
    """
    ends = torch.bincount(images, minlength=count).cumsum(0)
    return Packed(select(objects, images.argsort(stable=True)), torch.cat((torch.zeros(1, dtype=torch.int64), ends)))


def join(parts: Sequence[Packed]) -> Packed:
    """The images of all parts, one part after the other."""
    every = [part.objects for part in parts]
    objects = Objects(*(torch.cat([getattr(one, field.name) for one in every]) for field in fields(Objects)))
    counts = torch.cat([part.offsets.diff() for part in parts])
    return Packed(objects, torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0))))


def select(objects: Objects, rows: slice | Tensor) -> Objects:
    """Some of the objects: a slice of them, or those at int64 or bool (n,)."""
    return Objects(
        objects.boxes[rows], objects.labels[rows], objects.areas[rows], objects.difficult[rows], objects.crowd[rows]
    )
