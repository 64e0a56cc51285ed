"""The kernels registered as what the operators ``whatwhere::*`` run on CUDA."""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from functools import cache

import torch
import triton
from torch import Tensor

from whatwhere.ops.planes import Pooled
from whatwhere.ops.triton.gate import apply
from whatwhere.ops.triton.gradients import apply_gradients, map_gradient
from whatwhere.ops.triton.pooling import pool, pool_weight_gradient
from whatwhere.ops.triton.tiles import read

__all__ = ["register"]


@cache
def register() -> torch.library.Library | None:
    """Implement the operators for CUDA, once; not under Triton's interpreter, which computes on the host."""
    if not isinstance(read, triton.JITFunction):
        return None
    library = torch.library.Library("whatwhere", "IMPL", "CUDA")
    library.impl("pool", _pool)
    library.impl("pool_weight_gradient", pool_weight_gradient)
    library.impl("apply", apply)
    library.impl("apply_gradients", _apply_gradients)
    library.impl("map_gradient", _map_gradient)
    return library


def _pool(x: Tensor, dim: int, weight: Tensor | None, largest: bool, index: bool) -> tuple[Tensor, Tensor, Tensor]:
    mean, most, places = pool(x, dim, weight, largest, index)
    return mean, _given(most, mean.dtype, x), _given(places, torch.int32, x)


def _apply_gradients(
    gradient: Tensor, x: Tensor, row: Tensor | None, column: Tensor | None, how: str, strength: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    drow, dcolumn, moved = apply_gradients(gradient, x, row, column, how, strength)
    return _given(drow, torch.float32, x), _given(dcolumn, torch.float32, x), _given(moved, torch.float32, x)


def _map_gradient(
    x: Tensor,
    gradient: Tensor | None,
    row: Tensor | None,
    column: Tensor | None,
    how: str,
    strength: Tensor | None,
    across: list[Tensor | None],
    down: list[Tensor | None],
    extra: Tensor | None,
) -> Tensor:
    return map_gradient(x, gradient, row, column, how, strength, _found(across), _found(down), extra)


def _given(found: Tensor | None, dtype: torch.dtype, x: Tensor) -> Tensor:
    return x.new_empty((0,), dtype=dtype) if found is None else found


def _found(parts: list[Tensor | None]) -> Pooled | None:
    return Pooled(*parts) if parts else None  # type: ignore[arg-type]
