"""The factor of one gate on one batch, from the small maps that make it up: what is to be known of it, cheaply."""

from dataclasses import dataclass

import torch
from torch import Tensor

from whatwhere.gates.gate import Factors
from whatwhere.ops import combine_logits, factor

__all__ = ["Acting", "acting"]

# The lattice on which images are compared: at most so many channels and positions, evenly spaced.
_CHANNELS, _POSITIONS = 256, 196


@dataclass(frozen=True, eq=False)
class Acting:
    """A factor (B, C, P), its positions in one row, seen from several sides; the factor itself is not kept.

    Attributes:
        channels: (B, C), its mean over positions; None where it weighs positions alone.
        positions: (B, P), its mean over channels; None where it weighs channels alone.
        mean: (B,) of each image; likewise ``square``, the mean of its square. In float64.
        ends: (2,), the least of all and the greatest.
        lattice: (B, at most 256, at most 196) of it, evenly spaced.
    """

    channels: Tensor | None
    positions: Tensor | None
    mean: Tensor
    square: Tensor
    ends: Tensor
    lattice: Tensor


def acting(factors: Factors) -> Acting:
    """What a gate is about to apply.

    Cost: for BAM's two branches a few passes over one image after another, C P numbers that fit a cache; for all other
    gates some operations on B (C + P) numbers.
    """
    channel, spatial, how = factors
    wide = spatial is not None and spatial.shape[1] > 1
    if how == "gates" or ((channel is None or spatial is None) and not wide):
        row, column = (None if one is None else factor(one, None, how).float().flatten(1) for one in (channel, spatial))
        return _product(row, column)
    return _joined(channel, spatial, how)


def _product(row: Tensor | None, column: Tensor | None) -> Acting:
    """One number a channel times one number a position, both positive, as in CBAM: nothing is written out."""
    like: Tensor = column if row is None else row  # type: ignore[assignment]
    one = like.new_ones(len(like), 1)
    c, p = one if row is None else row, one if column is None else column
    (c_low, c_high), (p_low, p_high) = (torch.aminmax(one, dim=1) for one in (c, p))
    wide = c.double(), p.double()
    return Acting(
        channels=None if row is None else row * p.mean(1, keepdim=True),
        positions=None if column is None else column * c.mean(1, keepdim=True),
        mean=wide[0].mean(1) * wide[1].mean(1),
        square=wide[0].square().mean(1) * wide[1].square().mean(1),
        ends=torch.stack(((c_low * p_low).min(), (c_high * p_high).max())),
        lattice=_spaced(c, 1, _CHANNELS)[:, :, None] * _spaced(p, 1, _POSITIONS)[:, None],
    )


def _joined(channel: Tensor | None, spatial: Tensor | None, how: str) -> Acting:
    """``1 + sigmoid`` of joined logits, image by image."""
    count = len(spatial if channel is None else channel)  # type: ignore[arg-type]
    channels, positions, spread, lows, highs, lattices = [], [], [], [], [], []
    for i in range(count):
        row, column = (None if one is None else one[i].float().flatten(1) for one in (channel, spatial))
        attention = (column if row is None else combine_logits(row, column, how)).sigmoid()  # type: ignore[union-attr,arg-type]
        mean = attention.mean(1)
        channels.append(mean)
        positions.append(attention.mean(0))
        spread.append((attention - mean[:, None]).square_().mean(dtype=torch.float64))
        low, high = torch.aminmax(attention)
        lows.append(low)
        highs.append(high)
        lattices.append(_spaced(_spaced(attention, 0, _CHANNELS), 1, _POSITIONS))
    rows = 1 + torch.stack(channels)
    return Acting(
        channels=rows,
        positions=1 + torch.stack(positions),
        mean=rows.double().mean(1),
        square=torch.stack(spread) + rows.double().square().mean(1),
        ends=1 + torch.stack((torch.stack(lows).min(), torch.stack(highs).max())),
        lattice=1 + torch.stack(lattices),
    )


def _spaced(x: Tensor, dim: int, most: int) -> Tensor:
    """At most ``most`` along ``dim``."""
    step = -(-x.shape[dim] // most)
    return x[::step] if dim == 0 else x[:, ::step]
