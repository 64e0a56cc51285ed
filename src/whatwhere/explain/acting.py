"""The factor of one gate on one batch, from the small maps that make it up: what is to be known of it, cheaply."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from whatwhere.gates.gate import Factors
from whatwhere.ops import factor

__all__ = ["Acting", "acting"]

# The lattice on which images are compared: at most so many channels and positions, evenly spaced.
_CHANNELS, _POSITIONS = 128, 100
# As ``ops.combine_logits`` has it, into memory that is there.
_JOIN: Mapping[str, Callable[..., Tensor]] = {"sum": torch.add, "product": torch.mul, "max": torch.maximum}


@dataclass(frozen=True, eq=False)
class Acting:
    """A factor (B, C, P), its positions in one row, seen from several sides; the factor itself is not kept.

    Attributes:
        channels: (B, C), its mean over positions; None where it weighs positions alone.
        positions: (B, P), its mean over channels; None where it weighs channels alone.
        mean: (B,) of each image; likewise ``square``, the mean of its square. In float64.
        ends: (2,), the least of all and the greatest.
        lattice: (B, at most 128, at most 100) of it, evenly spaced.
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
    """``1 + sigmoid`` of joined logits, image by image, in memory that is used again: new memory would cost more."""
    rows, columns = (None if one is None else one.float().flatten(2) for one in (channel, spatial))
    known = [one for one in (rows, columns) if one is not None]
    like, shape = known[0], [max(one.shape[dim] for one in known) for dim in (1, 2)]
    attention, apart = like.new_empty(shape), like.new_empty(shape)
    channels, positions, spread, lows, highs, lattices = [], [], [], [], [], []
    for i in range(len(like)):
        if rows is None or columns is None:
            torch.sigmoid(like[i], out=attention)
        else:
            _JOIN[how](rows[i], columns[i], out=attention).sigmoid_()
        mean = attention.mean(1)
        channels.append(mean)
        positions.append(attention.mean(0))
        spread.append(torch.sub(attention, mean[:, None], out=apart).square_().mean(1))
        low, high = torch.aminmax(attention)
        lows.append(low)
        highs.append(high)
        lattices.append(_spaced(_spaced(attention, 0, _CHANNELS), 1, _POSITIONS).clone())
    means = 1 + torch.stack(channels)
    return Acting(
        channels=means,
        positions=1 + torch.stack(positions),
        mean=means.double().mean(1),
        square=torch.stack(spread).double().mean(1) + means.double().square().mean(1),
        ends=1 + torch.stack((torch.stack(lows).min(), torch.stack(highs).max())),
        lattice=1 + torch.stack(lattices),
    )


def _spaced(x: Tensor, dim: int, most: int) -> Tensor:
    """At most ``most`` along ``dim``."""
    step = -(-x.shape[dim] // most)
    return x[::step] if dim == 0 else x[:, ::step]
