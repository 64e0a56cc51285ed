"""The five kernels in plain torch: what every faster set is held against, and what runs where there is none.

All take planes (B, R, K), see ``planes.py``; one number a row or a column is (B, R) or (B, K) in the *wide* dtype,
float32 or what is wider. ``how`` says what the two numbers of an element, r and c, make of it: ``gates`` multiplies it
by ``r c``, the others by ``1 + sigmoid(j)`` where j is their ``sum``, ``product`` or ``max``; where one is None, the
other stands alone. With a strength s the factor f is ``1 + s (f - 1)``. Arithmetic is wide, results are rounded once,
no function changes what it was given.
"""

import torch
from torch import Tensor

from whatwhere.ops.planes import Pooled

__all__ = ["apply", "apply_gradients", "map_gradient", "pool", "pool_weight_gradient", "wide"]


def wide(dtype: torch.dtype) -> torch.dtype:
    """What values of ``dtype`` are added up in."""
    return torch.promote_types(dtype, torch.float32)


def pool(
    x: Tensor, dim: int, weight: Tensor | None, largest: bool, index: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Mean and largest value of ``x * weight`` along ``dim`` (1 over rows, 2 over columns), in one read of x.

    ``weight`` runs along ``dim``. A NaN is the largest of all. ``index`` is where the first of the largest stands.

    Shape: x (B, R, K), weight (B, R) for dim 1, (B, K) for dim 2 -> mean and largest (B, K) or (B, R), wide; index
    likewise, int32. ``largest`` and ``index`` False leave theirs out.
    """
    gated = x if weight is None else x * weight.unsqueeze(3 - dim)
    mean = gated.mean(dim, dtype=wide(x.dtype))
    if not largest:
        return mean, None, None
    if not index:
        return mean, gated.amax(dim).to(mean.dtype), None
    values, places = gated.max(dim)
    return mean, values.to(mean.dtype), places.to(torch.int32)


def pool_weight_gradient(x: Tensor, dim: int, mean: Tensor, largest: Tensor | None, index: Tensor | None) -> Tensor:
    """Gradient of the ``weight`` of ``pool``, in one read of x.

    ``sum over the other dimension of x * (mean + largest where index points)``; ``mean`` is already divided.

    Shape: x (B, R, K); mean, largest, index (B, K) for dim 1, (B, R) for dim 2 -> (B, R) for dim 1, (B, K) for dim 2.
    """
    other = 3 - dim
    gradient = (x * mean.unsqueeze(dim)).sum(other, dtype=mean.dtype)
    if largest is not None and index is not None:
        places = index.long()
        there = x.gather(dim, places.unsqueeze(dim)).squeeze(dim)
        gradient = gradient.scatter_add(1, places, there * largest)
    return gradient


def apply(
    x: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    how: str,
    strength: Tensor | None,
    residual: Tensor | None,
    relu: bool,
) -> Tensor:
    """Multiply the planes by the gate's factor, add ``residual``, take the ReLU: one read of each, one write.

    Shape: x, residual (B, R, K), row (B, R), column (B, K), strength () -> (B, R, K) in x's dtype.
    """
    factor = _factor(row, column, how, strength)
    made_here = row is not None and column is not None and not torch.is_grad_enabled()
    spare = made_here and factor.dtype == x.dtype
    out = factor.mul_(x) if spare else x * factor
    if residual is not None:
        out += residual
    return (out.relu_() if relu else out).to(x.dtype)


def apply_gradients(
    gradient: Tensor, x: Tensor, row: Tensor | None, column: Tensor | None, how: str, strength: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of ``row``, ``column`` and ``strength`` of ``apply``: one read of its gradient and of x.

    Shape: gradient, x (B, R, K) -> (B, R), (B, K), (), each wide, or None where the argument is.
    """
    product = gradient.to(wide(x.dtype)) * x
    moved = None
    if strength is not None:
        moved = (product * (_factor(row, column, how, None) - 1)).sum()
        product = product * strength
    by_row, by_column = _slopes(row, column, how)
    drow = None if row is None else (product * by_row).sum(2)
    dcolumn = None if column is None else (product * by_column).sum(1)
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
    """The whole gradient of a gate's map: of ``apply``, of what was pooled, and ``extra``, in one read and one write.

    ``across`` are the gradients of what was pooled along columns (dim 2), ``down`` of what was along rows (dim 1). x
    gives shape and dtype and is not read.

    Shape: x, gradient, extra (B, R, K) -> (B, R, K) in x's dtype.
    """
    total = torch.zeros((), dtype=wide(x.dtype), device=x.device)
    if gradient is not None:
        total = gradient * _factor(row, column, how, strength)
    if extra is not None:
        total = total + extra
    total = total.expand(x.shape)
    for dim, pooled in ((2, across), (1, down)):
        if pooled is not None:
            total = total + _into_map(pooled, dim, x)
    return total.to(x.dtype)


def _into_map(pooled: Pooled, dim: int, x: Tensor) -> Tensor:
    value = pooled.mean.unsqueeze(dim).expand(x.shape)
    if pooled.largest is not None and pooled.places is not None:
        place = pooled.places.long().unsqueeze(dim)
        value = value.scatter_add(dim, place, pooled.largest.unsqueeze(dim))
    return value if pooled.weight is None else value * pooled.weight.unsqueeze(3 - dim)


def _joined(row: Tensor | None, column: Tensor | None, how: str) -> Tensor:
    """What the numbers of an element make, (B, R, K) or as much of it as one of them spans."""
    if row is None or column is None:
        return column.unsqueeze(1) if row is None else row.unsqueeze(2)  # type: ignore[union-attr]
    r, c = row.unsqueeze(2), column.unsqueeze(1)
    if how == "sum":
        return r + c
    return torch.maximum(r, c) if how == "max" else r * c


def _factor(row: Tensor | None, column: Tensor | None, how: str, strength: Tensor | None) -> Tensor:
    """What an element is multiplied by; nothing of the map's size but the result where no gradient flows."""
    joined = _joined(row, column, how)
    if row is None or column is None or torch.is_grad_enabled():
        if how == "gates":
            return joined if strength is None else 1 + strength * (joined - 1)
        gate = joined.sigmoid()
        return 1 + (gate if strength is None else strength * gate)
    if how == "gates":
        return joined if strength is None else joined.sub_(1).mul_(strength).add_(1)
    joined.sigmoid_()
    return (joined if strength is None else joined.mul_(strength)).add_(1)


def _slopes(row: Tensor | None, column: Tensor | None, how: str) -> tuple[Tensor | float, Tensor | float]:
    """Derivatives of the factor by r and by c; where the two logits of ``max`` are equal, each takes half."""
    joined = _joined(row, column, how)
    if how == "gates":
        return _beside(column, 1), _beside(row, 2)
    gate = joined.sigmoid()
    slope = gate * (1 - gate)
    if row is None or column is None or how == "sum":
        return slope, slope
    if how == "product":
        return slope * column.unsqueeze(1), slope * row.unsqueeze(2)
    difference = row.unsqueeze(2) - column.unsqueeze(1)
    return slope * difference.heaviside(difference.new_tensor(0.5)), slope * (-difference).heaviside(
        difference.new_tensor(0.5)
    )


def _beside(other: Tensor | None, dim: int) -> Tensor | float:
    return 1.0 if other is None else other.unsqueeze(dim)
