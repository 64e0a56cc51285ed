"""A part of a detection set that lies in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whatwhere.data.detection import Objects

__all__ = ["MadePart", "made_objects", "made_part"]


@dataclass(frozen=True, eq=False)
class MadePart:
    """Images and objects in memory; where no images are given, an image is grey."""

    ids: Sequence[int | str]
    sizes: Tensor
    known: Sequence[Objects]
    images: Sequence[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.known)

    def objects(self, index: int) -> Objects:
        return self.known[index]

    def image(self, index: int) -> Tensor:
        if self.images is not None:
            return self.images[index]
        rows, columns = self.sizes[index].tolist()
        return torch.full((3, rows, columns), 128, dtype=torch.uint8)

    def take(self, indices: Tensor) -> "MadePart":
        chosen = indices.tolist()
        images = None if self.images is None else [self.images[i] for i in chosen]
        return MadePart([self.ids[i] for i in chosen], self.sizes[indices], [self.known[i] for i in chosen], images)


def made_objects(
    boxes: Sequence[Sequence[float]] | Tensor,
    labels: Sequence[int] | Tensor,
    *,
    areas: Sequence[float] | Tensor | None = None,
    difficult: Sequence[bool] | Tensor | None = None,
    crowd: Sequence[bool] | Tensor | None = None,
) -> Objects:
    """Objects from plain lists; areas are those of the boxes, and none is difficult or a crowd, unless told."""
    corners = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    count = len(corners)
    sides = corners[:, 2:] - corners[:, :2]
    return Objects(
        corners,
        torch.as_tensor(labels, dtype=torch.int64).reshape(-1),
        sides.prod(1) if areas is None else torch.as_tensor(areas, dtype=torch.float32).reshape(-1),
        torch.zeros(count, dtype=torch.bool) if difficult is None else torch.as_tensor(difficult, dtype=torch.bool),
        torch.zeros(count, dtype=torch.bool) if crowd is None else torch.as_tensor(crowd, dtype=torch.bool),
    )


def made_part(
    known: Sequence[Objects],
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    ids: Sequence[int | str] | None = None,
    images: Sequence[Tensor] | None = None,
) -> MadePart:
    """A part of these objects; ids are 1, 2, ..., and sizes those of the images or 480 by 640, unless told."""
    if sizes is None:
        sizes = [(480, 640)] * len(known) if images is None else [(one.shape[1], one.shape[2]) for one in images]
    shapes = torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
    return MadePart(list(ids) if ids is not None else list(range(1, len(known) + 1)), shapes, known, images)
