"""The five kernels as torch operators ``whatwhere::*``: one schema, one shape rule, an implementation a device.

C++ registers its kernels for the CPU, Triton's are registered for CUDA. What a kernel does not return (an index nobody
asked for) is an empty tensor here and None outside.
"""

import torch
from torch import Tensor

from whatwhere.ops.plain import wide
from whatwhere.ops.planes import Pooled

__all__ = ["apply", "apply_gradients", "map_gradient", "pool", "pool_weight_gradient"]

_LIBRARY = torch.library.Library("whatwhere", "DEF")  # type: ignore[no-untyped-call]
_GATE = "Tensor? row, Tensor? column, str how, Tensor? strength"
for _schema in (
    "pool(Tensor x, int dim, Tensor? weight, bool largest, bool index) -> (Tensor, Tensor, Tensor)",
    "pool_weight_gradient(Tensor x, int dim, Tensor mean, Tensor? largest, Tensor? index) -> Tensor",
    f"apply(Tensor x, {_GATE}, Tensor? residual, bool relu) -> Tensor",
    f"apply_gradients(Tensor gradient, Tensor x, {_GATE}) -> (Tensor, Tensor, Tensor)",
    f"map_gradient(Tensor x, Tensor? gradient, {_GATE}, Tensor?[] across, Tensor?[] down, Tensor? extra) -> Tensor",
):
    _LIBRARY.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]

_OPS = torch.ops.whatwhere


def pool(
    x: Tensor, dim: int, weight: Tensor | None, largest: bool, index: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    mean, most, places = _OPS.pool(x, dim, weight, largest, index)
    return mean, most if largest else None, places if largest and index else None


def pool_weight_gradient(x: Tensor, dim: int, mean: Tensor, largest: Tensor | None, index: Tensor | None) -> Tensor:
    return _OPS.pool_weight_gradient(x, dim, mean, largest, index)  # type: ignore[no-any-return]


def apply(
    x: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    how: str,
    strength: Tensor | None,
    residual: Tensor | None,
    relu: bool,
) -> Tensor:
    return _OPS.apply(x, row, column, how, strength, residual, relu)  # type: ignore[no-any-return]


def apply_gradients(
    gradient: Tensor, x: Tensor, row: Tensor | None, column: Tensor | None, how: str, strength: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    found = _OPS.apply_gradients(gradient, x, row, column, how, strength)
    drow, dcolumn, moved = (
        value if given is not None else None for value, given in zip(found, (row, column, strength), strict=True)
    )
    return drow, dcolumn, moved


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
    return _OPS.map_gradient(  # type: ignore[no-any-return]
        x, gradient, row, column, how, strength, list(across or ()), list(down or ()), extra
    )


@torch.library.register_fake("whatwhere::pool", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(x: Tensor, dim: int, weight: Tensor | None, largest: bool, index: bool) -> tuple[Tensor, Tensor, Tensor]:
    shape = (x.shape[0], x.shape[3 - dim])
    mean = x.new_empty(shape, dtype=wide(x.dtype))
    most = x.new_empty(shape if largest else (0,), dtype=mean.dtype)
    return mean, most, x.new_empty(shape if largest and index else (0,), dtype=torch.int32)


@torch.library.register_fake("whatwhere::pool_weight_gradient", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(x: Tensor, dim: int, mean: Tensor, largest: Tensor | None, index: Tensor | None) -> Tensor:
    return mean.new_empty((x.shape[0], x.shape[dim]))


@torch.library.register_fake("whatwhere::apply", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(x: Tensor, row: object, column: object, how: str, strength: object, residual: object, relu: bool) -> Tensor:
    return torch.empty_like(x)


@torch.library.register_fake("whatwhere::apply_gradients", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(
    gradient: Tensor, x: Tensor, row: Tensor | None, column: Tensor | None, how: str, strength: Tensor | None
) -> tuple[Tensor, ...]:
    none = x.new_empty((0,), dtype=wide(x.dtype))
    return tuple(none if given is None else torch.empty_like(given) for given in (row, column, strength))


@torch.library.register_fake("whatwhere::map_gradient", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(x: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x)
