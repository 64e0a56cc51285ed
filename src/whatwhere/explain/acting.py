"""The factor of one gate on one batch, from the small maps that make it up, and what can be known of it cheaply."""

from typing import Protocol

import torch
from torch import Tensor

from whatwhere.gates.gate import Factors
from whatwhere.ops import factor

__all__ = ["Acting", "acting"]

# The lattice on which images are compared: at most so many channels and positions, evenly spaced.
_CHANNELS, _POSITIONS = 256, 196


class Acting(Protocol):
    """A factor (B, C, P) in float32, its positions in one row; not always written out.

    Attributes:
        channels: (B, C), its mean over positions; None where it weighs positions alone.
        positions: (B, P), its mean over channels; None where it weighs channels alone.
    """

    channels: Tensor | None
    positions: Tensor | None

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and mean square of each image, (B,) each."""

    def ends(self) -> tuple[Tensor, Tensor]:
        """The least and the greatest of all, () each."""

    def outside(self, low: float, high: float) -> tuple[Tensor, Tensor]:
        """The shares of all that lie below ``low``, and above ``high``, () each."""

    def lattice(self) -> Tensor:
        """(B, at most 256, at most 196) of it, evenly spaced."""


def acting(factors: Factors) -> Acting:
    """What a gate is about to apply. Cost: a pass over (B, C, P) for BAM's two branches, a few over B (C + P) else."""
    channel, spatial, how = factors
    wide = spatial is not None and spatial.shape[1] > 1
    if how == "gates" or ((channel is None or spatial is None) and not wide):
        row, column = (None if one is None else factor(one, None, how).float().flatten(1) for one in (channel, spatial))
        return _Product(row, column)
    return _Dense(factor(channel, spatial, how).float().flatten(2))


class _Product:
    """One number a channel times one number a position, both positive, as in CBAM: nothing is written out."""

    def __init__(self, row: Tensor | None, column: Tensor | None) -> None:
        like: Tensor = column if row is None else row  # type: ignore[assignment]
        one = like.new_ones(len(like), 1)
        self._row, self._column = one if row is None else row, one if column is None else column
        self.channels = None if row is None else row * self._column.mean(1, keepdim=True)
        self.positions = None if column is None else column * self._row.mean(1, keepdim=True)

    def moments(self) -> tuple[Tensor, Tensor]:
        row, column = self._row.double(), self._column.double()
        return row.mean(1) * column.mean(1), row.square().mean(1) * column.square().mean(1)

    def ends(self) -> tuple[Tensor, Tensor]:
        (row_low, row_high), (low, high) = (torch.aminmax(one, dim=1) for one in (self._row, self._column))
        return (row_low * low).min(), (row_high * high).max()

    def outside(self, low: float, high: float) -> tuple[Tensor, Tensor]:
        ordered = self._column.sort(1).values
        below = torch.searchsorted(ordered, low / self._row)
        above = ordered.shape[1] - torch.searchsorted(ordered, high / self._row, right=True)
        return below.double().mean() / ordered.shape[1], above.double().mean() / ordered.shape[1]

    def lattice(self) -> Tensor:
        return _spaced(self._row, _CHANNELS)[:, :, None] * _spaced(self._column, _POSITIONS)[:, None]


class _Dense:
    """Written out."""

    def __init__(self, factor: Tensor) -> None:
        self._factor = factor
        self.channels: Tensor | None = factor.mean(2)
        self.positions: Tensor | None = factor.mean(1)

    def moments(self) -> tuple[Tensor, Tensor]:
        squares = torch.linalg.vector_norm(self._factor.flatten(1), dim=1, dtype=torch.float64).square()
        return self._factor.mean((1, 2), dtype=torch.float64), squares / self._factor[0].numel()

    def ends(self) -> tuple[Tensor, Tensor]:
        low, high = torch.aminmax(self._factor)
        return low, high

    def outside(self, low: float, high: float) -> tuple[Tensor, Tensor]:
        return (self._factor < low).double().mean(), (self._factor > high).double().mean()

    def lattice(self) -> Tensor:
        return _spaced(_spaced(self._factor, _CHANNELS).transpose(1, 2), _POSITIONS).transpose(1, 2)


def _spaced(x: Tensor, most: int) -> Tensor:
    """At most ``most`` along dimension 1."""
    return x[:, :: -(-x.shape[1] // most)]
