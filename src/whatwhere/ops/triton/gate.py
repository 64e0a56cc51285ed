"""The kernel that multiplies a map by its gate's factor."""
# mypy: disable-error-code="import-untyped, no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from whatwhere.ops.triton.factor import factor_of, numbers, way
from whatwhere.ops.triton.tiles import elements, from_the_end, in_units, launch, read, tile

__all__ = ["apply"]


def apply(
    x: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    how: str,
    strength: Tensor | None,
    residual: Tensor | None,
    relu: bool,
) -> Tensor:
    """``plain.apply``: one read of x and of ``residual``, one write, one launch."""
    batch, rows, columns = x.shape
    units, unit = in_units(columns)
    high, wide = tile(rows, columns)
    out = torch.empty_like(x)
    launch(
        _apply, batch * triton.cdiv(rows, high) * triton.cdiv(columns, wide), x,
        x, row, column, strength, residual, out, rows, units,
        HOW=way(row, column, how), RELU=relu, UNIT=unit, HIGH=high, WIDE=wide,
    )  # fmt: skip
    return out


@triton.jit
def _apply(
    x, row, column, strength, residual, out, R, units,
    HOW: tl.constexpr, RELU: tl.constexpr, UNIT: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    K = units * UNIT
    batch, rows, columns = from_the_end(R, K, HIGH, WIDE)
    at, inside = elements(batch, rows, columns, R, K, 2)
    r = numbers(row, batch, rows, R, HOW)[:, None]
    c = numbers(column, batch, columns, K, HOW)[None, :]
    value = read(x, at, inside) * factor_of(r, c, strength, HOW)
    if residual is not None:
        value += read(residual, at, inside)
    if RELU:
        value = tl.where(value < 0, 0.0, value)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)
