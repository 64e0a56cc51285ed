"""Kernels that read planes once and leave a number a row or a column.

Where one program cannot take a whole row or column, each leaves what it found of its piece and ``combine`` joins the
pieces in their order: no atomics, so the same bits every time.
"""
# mypy: disable-error-code="import-untyped, no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from whatwhere.ops.triton.tiles import cut, elements, in_units, launch, own, read

__all__ = ["combine", "pool", "pool_weight_gradient"]


def pool(
    x: Tensor, dim: int, weight: Tensor | None, largest: bool, index: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """``plain.pool``: one read of x; a second, small launch where one program cannot take a whole row or column."""
    batch, rows, columns = x.shape
    units, unit = in_units(columns)
    size, left = (rows, columns) if dim == 1 else (columns, rows)
    plan = cut(x.shape, dim)
    shape = (batch, plan.pieces, left)
    sums = x.new_empty(shape, dtype=torch.float32)
    tops = torch.empty_like(sums) if largest else None
    places = x.new_empty(shape, dtype=torch.int32) if largest and index else None
    count = size if plan.pieces == 1 else 1
    launch(
        _pool, plan.programs, x,
        x, weight, sums, tops, places, rows, units, plan.length, plan.pieces, count,
        DIM=dim, UNIT=unit, ONCE=size <= plan.along, KEPT=plan.kept, ALONG=plan.along,
    )  # fmt: skip
    return combine(sums, tops, places, size)


def pool_weight_gradient(x: Tensor, dim: int, mean: Tensor, largest: Tensor | None, index: Tensor | None) -> Tensor:
    """``plain.pool_weight_gradient``: one read of x, reduced over what the pool kept."""
    batch, rows, columns = x.shape
    units, unit = in_units(columns)
    plan = cut(x.shape, 3 - dim)
    sums = x.new_empty((batch, plan.pieces, rows if dim == 1 else columns), dtype=torch.float32)
    launch(
        _pool_weight_gradient, plan.programs, x,
        x, mean, largest, index, sums, rows, units, plan.length, plan.pieces,
        DIM=3 - dim, UNIT=unit, KEPT=plan.kept, ALONG=plan.along,
    )  # fmt: skip
    return combine(sums, None, None, 1)[0]


def combine(
    sums: Tensor, tops: Tensor | None, places: Tensor | None, count: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Join the pieces (B, pieces, N) to (B, N): sums divided by ``count``, the largest and its place.

    A single piece is taken as it is, already divided.
    """
    batch, pieces, left = sums.shape
    if pieces == 1:
        return tuple(None if one is None else one.squeeze(1) for one in (sums, tops, places))  # type: ignore[return-value]
    plan = cut((batch, pieces, left), 1)
    total = sums.new_empty((batch, left))
    top = None if tops is None else torch.empty_like(total)
    place = None if places is None else places.new_empty((batch, left))
    launch(
        _combine, batch * triton.cdiv(left, plan.kept), sums,
        sums, tops, places, total, top, place, left, pieces, count, KEPT=plan.kept, ALONG=plan.along,
    )  # fmt: skip
    return total, top, place


@triton.jit
def _pool(
    x, weight, sums, tops, places, R, units, length, pieces, count,
    DIM: tl.constexpr, UNIT: tl.constexpr, ONCE: tl.constexpr, KEPT: tl.constexpr, ALONG: tl.constexpr,
):  # fmt: skip
    K = units * UNIT
    if DIM == 2:
        left, size = R, K
    else:
        left, size = K, R
    batch, piece, kept = own(tl.program_id(0), left, pieces, KEPT)
    if ONCE:
        start, stop = 0, ALONG
    else:
        start = piece * length
        stop = tl.minimum(start + length, size)
    total = tl.zeros((KEPT, ALONG), tl.float32)
    top = tl.full((KEPT, ALONG), float("-inf"), tl.float32)
    # where nothing is above -inf, the first of the piece
    place = tl.zeros((KEPT, ALONG), tl.int32) + start
    for first in range(start, stop, ALONG):
        along = first + tl.arange(0, ALONG)
        offsets, inside = elements(batch, kept, along, R, K, DIM)
        value = read(x, offsets, inside)
        if weight is not None:
            value *= read(weight, batch * size + along, along < size)[None, :]
        total += value
        if tops is not None:
            value = tl.where((along < size)[None, :], value, float("-inf"))
            top, place = _larger(value, along[None, :], top, place)
    at = (batch * pieces + piece) * left + kept
    tl.store(sums + at, tl.sum(total, 1) / count, mask=kept < left)
    if tops is not None:
        top, place = _largest(top, place)
        tl.store(tops + at, top, mask=kept < left)
        if places is not None:
            tl.store(places + at, place, mask=kept < left)


@triton.jit
def _pool_weight_gradient(
    x, mean, largest, index, sums, R, units, length, pieces,
    DIM: tl.constexpr, UNIT: tl.constexpr, KEPT: tl.constexpr, ALONG: tl.constexpr,
):  # fmt: skip
    K = units * UNIT
    if DIM == 2:
        left, size = R, K
    else:
        left, size = K, R
    batch, piece, kept = own(tl.program_id(0), left, pieces, KEPT)
    start = piece * length
    stop = tl.minimum(start + length, size)
    total = tl.zeros((KEPT, ALONG), tl.float32)
    for first in range(start, stop, ALONG):
        along = first + tl.arange(0, ALONG)
        offsets, inside = elements(batch, kept, along, R, K, DIM)
        value = read(x, offsets, inside)
        at = batch * size + along
        slope = read(mean, at, along < size)[None, :]
        if largest is not None:
            place = tl.load(index + at, mask=along < size, other=0)[None, :]
            slope += tl.where(place == kept[:, None], read(largest, at, along < size)[None, :], 0.0)
        total += value * slope
    at = (batch * pieces + piece) * left + kept
    tl.store(sums + at, tl.sum(total, 1), mask=kept < left)


@triton.jit
def _combine(
    sums, tops, places, total_of, top_of, place_of, left, pieces, count, KEPT: tl.constexpr, ALONG: tl.constexpr
):
    batch, _, kept = own(tl.program_id(0), left, 1, KEPT)
    total = tl.zeros((KEPT, ALONG), tl.float32)
    top = tl.full((KEPT, ALONG), float("-inf"), tl.float32)
    place = tl.zeros((KEPT, ALONG), tl.int32)
    for first in range(0, pieces, ALONG):
        along = first + tl.arange(0, ALONG)
        at, inside = elements(batch, kept, along, pieces, left, 1)
        total += read(sums, at, inside)
        if tops is not None:
            value = tl.load(tops + at, mask=inside, other=float("-inf"))
            there = place
            if places is not None:
                there = tl.load(places + at, mask=inside, other=0)
            top, place = _larger(value, there, top, place)
    at = batch * left + kept
    tl.store(total_of + at, tl.sum(total, 1) / count, mask=kept < left)
    if tops is not None:
        top, place = _largest(top, place)
        tl.store(top_of + at, top, mask=kept < left)
        if places is not None:
            tl.store(place_of + at, place, mask=kept < left)


@triton.jit
def _larger(value, here, top, place):
    """The larger of two, what came first where they are equal; a NaN is larger than any number."""
    keep = (value <= top) | (top != top)
    return tl.where(keep, top, value), tl.where(keep, place, here)


@triton.jit
def _largest(top, place):
    """The largest along the second dimension and the first of its places."""
    lost = top != top
    found = tl.max(tl.where(lost, float("-inf"), top), 1)
    none = tl.max(lost.to(tl.int32), 1) == 0
    winner = tl.where(none[:, None], top == found[:, None], lost)
    return tl.where(none, found, float("nan")), tl.min(tl.where(winner, place, 2147483647), 1)
