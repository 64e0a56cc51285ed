"""A map as its memory has it: a stack of matrices, whatever the layout and the number of spatial dimensions."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Planes", "Pooled", "planes"]


class Planes(NamedTuple):
    """How to see a map (B, C, *S) as ``rows`` (B, R, K) whose last dimension is dense in memory, and back.

    A contiguous map has its channels for rows, R = C and K = S; one in channels_last has its positions for rows. What
    is pooled over positions in the one is pooled over rows in the other, so a kernel written for planes serves both.
    """

    channels_last: bool
    shape: torch.Size

    def of(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, R, K), a view; of a tensor that is strided otherwise (an expanded gradient), a copy."""
        moved = x.movedim(1, -1) if self.channels_last else x
        return moved.contiguous().flatten(1, -2) if self.channels_last else moved.contiguous().flatten(2)

    def back(self, rows: Tensor) -> Tensor:
        """(B, R, K) -> (B, C, *S) in the layout of the map, a view."""
        batch, channels, *size = self.shape
        if self.channels_last:
            return rows.view(batch, *size, channels).movedim(-1, 1)
        return rows.view(self.shape)

    @property
    def positions(self) -> int:
        """The dimension of the planes that runs over positions: 1 or 2."""
        return 1 if self.channels_last else 2

    @property
    def channels(self) -> int:
        """The dimension of the planes that runs over channels."""
        return 3 - self.positions


def planes(x: Tensor) -> Planes | None:
    """The planes of a map, or None for one that no view can turn into planes (a slice of another, say)."""
    if x.is_contiguous():
        return Planes(False, x.shape)
    if x.ndim > 2 and x.movedim(1, -1).is_contiguous():
        return Planes(True, x.shape)
    return None


class Pooled(NamedTuple):
    """The gradients of what was pooled along one dimension of the planes, on their way into the map.

    Shapes, N the dimension that is left and P the one that was pooled: ``mean`` (B, N), divided by how many were
    averaged; ``largest`` (B, N) and ``places`` (B, N) int32, where those stood, or both None where only the mean was
    taken; ``weight`` (B, P), what the map was multiplied by before, or None.
    """

    mean: Tensor
    largest: Tensor | None
    places: Tensor | None
    weight: Tensor | None
