"""The kernels of the backward: gradients of the gate's numbers, and of the map."""

# mypy: disable-error-code="import-untyped, no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from whatwhere.ops.planes import Pooled
from whatwhere.ops.triton.factor import factor_of, less_one, numbers, slopes_of, way
from whatwhere.ops.triton.pooling import combine
from whatwhere.ops.triton.tiles import cut, elements, from_the_end, in_units, launch, own, read, tile

__all__ = ["apply_gradients", "map_gradient"]


def apply_gradients(
    gradient: Tensor, x: Tensor, row: Tensor | None, column: Tensor | None, how: str, strength: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """``plain.apply_gradients``: one read of the gradient and of x; small launches join what several programs found."""
    batch, rows, columns = x.shape
    units, unit = in_units(columns)
    plan = cut(x.shape, 1)
    blocks = triton.cdiv(columns, plan.kept)
    drow = None if row is None else row.new_empty((batch, blocks, rows))
    dcolumn = None if column is None else column.new_empty((batch, plan.pieces, columns))
    # of an empty batch no program adds anything up
    new = x.new_empty if batch else x.new_zeros
    moved = None if strength is None else new((1, max(plan.programs, 1), 1), dtype=torch.float32)
    launch(
        _apply_gradients, plan.programs, x,
        gradient, x, row, column, strength, drow, dcolumn, moved, rows, units, plan.length, plan.pieces,
        HOW=way(row, column, how), UNIT=unit, HIGH=plan.along, WIDE=plan.kept,
    )  # fmt: skip
    total = None if moved is None else combine(moved, None, None, 1)[0].view(())
    return _joined(drow), _joined(dcolumn), total


def _joined(sums: Tensor | None) -> Tensor | None:
    return None if sums is None else combine(sums, None, None, 1)[0]


def map_gradient(
    x: Tensor,
    gradient: Tensor | None,
    row: Tensor | None,
    column: Tensor | None,
    how: str,
    strength: Tensor | None,
    across: Pooled | None,
    down: Pooled | None,
    extra: Tensor | None,
) -> Tensor:
    """``plain.map_gradient``: one read of ``gradient`` and of ``extra``, one write, one launch."""
    batch, rows, columns = x.shape
    units, unit = in_units(columns)
    high, wide = tile(rows, columns)
    out = torch.empty_like(x)
    none = (None, None, None, None)
    launch(
        _map_gradient, batch * triton.cdiv(rows, high) * triton.cdiv(columns, wide), x,
        gradient, row, column, strength, *(across or none), *(down or none), extra, out, rows, units,
        HOW=way(row, column, how), UNIT=unit, HIGH=high, WIDE=wide,
    )  # fmt: skip
    return out


@triton.jit
def _apply_gradients(
    gradient, x, row, column, strength, drow, dcolumn, moved, R, units, length, pieces,
    HOW: tl.constexpr, UNIT: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    K = units * UNIT
    batch, piece, columns = own(tl.program_id(0), K, pieces, WIDE)
    blocks = tl.cdiv(K, WIDE)
    block = tl.program_id(0) % blocks
    c = numbers(column, batch, columns, K, HOW)[None, :]
    down = tl.zeros((HIGH, WIDE), tl.float32)
    shift = tl.zeros((HIGH, WIDE), tl.float32)
    start = piece * length
    for first in range(start, tl.minimum(start + length, R), HIGH):
        rows = first + tl.arange(0, HIGH)
        at, inside = elements(batch, rows, columns, R, K, 2)
        r = numbers(row, batch, rows, R, HOW)[:, None]
        product = read(gradient, at, inside) * read(x, at, inside)
        if strength is not None:
            shift += tl.where(inside, product * less_one(r, c, HOW), 0.0)
            product *= tl.load(strength)
        by_row, by_column = slopes_of(r, c, HOW)
        # outside, where the numbers are made up, 0 times a slope may be NaN
        if row is not None:
            across = tl.sum(tl.where(inside, product * by_row, 0.0), 1)
            tl.store(drow + (batch * blocks + block) * R + rows, across, mask=rows < R)
        if column is not None:
            down += tl.where(inside, product * by_column, 0.0)
    if column is not None:
        tl.store(dcolumn + (batch * pieces + piece) * K + columns, tl.sum(down, 0), mask=columns < K)
    if strength is not None:
        tl.store(moved + tl.program_id(0), tl.sum(tl.sum(shift, 1), 0))


@triton.jit
def _map_gradient(
    gradient, row, column, strength,
    across, across_largest, across_index, across_weight, down, down_largest, down_index, down_weight,
    extra, out, R, units, HOW: tl.constexpr, UNIT: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    K = units * UNIT
    batch, rows, columns = from_the_end(R, K, HIGH, WIDE)
    at, inside = elements(batch, rows, columns, R, K, 2)
    total = tl.zeros((HIGH, WIDE), tl.float32)
    if gradient is not None:
        r = numbers(row, batch, rows, R, HOW)[:, None]
        c = numbers(column, batch, columns, K, HOW)[None, :]
        total += read(gradient, at, inside) * factor_of(r, c, strength, HOW)
    if extra is not None:
        total += read(extra, at, inside)
    if across is not None:
        total += _pooled(
            across, across_largest, across_index, across_weight, batch, rows[:, None], columns[None, :], R, K
        )
    if down is not None:
        total += _pooled(down, down_largest, down_index, down_weight, batch, columns[None, :], rows[:, None], K, R)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _pooled(mean, largest, index, weight, batch, kept, along, left, size):
    """The gradient of what was pooled, at elements (kept, along): what the pool left, and what it ran along."""
    at = batch * left + kept
    value = read(mean, at, kept < left)
    if largest is not None:
        place = tl.load(index + at, mask=kept < left, other=0)
        value += tl.where(place == along, read(largest, at, kept < left), 0.0)
    if weight is not None:
        value *= read(weight, batch * size + along, along < size)
    return value
