"""The five kernels' formulas in NumPy, and with every value how far rounding may take a kernel from it.

Written from what ``ops/plain.py`` promises, not from how it does it. Arrays come in the dtype the kernels add up in;
the arithmetic here is float64. A ``Near`` carries, beside its values, the largest error of a kernel that rounds after
every operation, to first order and in *units* (half the distance from 1 to the next number of the kernel's wide dtype).
A plain array among the results has to be met exactly.
"""

from dataclasses import dataclass

import numpy as np

from whatwhere.ops.planes import Pooled

__all__ = ["Near", "apply", "apply_gradients", "map_gradient", "pool", "pool_weight_gradient"]

Array = np.ndarray
# What an exponential may be off by; vector libraries promise 1 to 2 units in the last place, each of them two of ours.
EXP = 4.0


@dataclass(frozen=True)
class Near:
    """Values and their error bounds; a bare number or array is exact."""

    value: Array
    error: Array

    @classmethod
    def of(cls, exact: "Near | Array | float") -> "Near":
        if isinstance(exact, Near):
            return exact
        value = np.asarray(exact, dtype=np.float64)
        return cls(value, np.zeros_like(value))

    def __add__(self, other: "Near | Array | float") -> "Near":
        other = Near.of(other)
        value = self.value + other.value
        return Near(value, self.error + other.error + abs(value))

    def __mul__(self, other: "Near | Array | float") -> "Near":
        other = Near.of(other)
        value = self.value * other.value
        return Near(value, abs(self.value) * other.error + abs(other.value) * self.error + abs(value))

    def total(self, *axes: int) -> "Near":
        """The sum along one axis after the other, the terms of each in any order."""
        found = self
        for axis in axes:
            roundings = max(found.value.shape[axis] - 1, 0)
            error = found.error.sum(axis) + roundings * abs(found.value).sum(axis)
            found = Near(found.value.sum(axis), error)
        return found

    def sigmoid(self) -> "Near":
        """1 / (1 + e^-j), whether e^-j is taken at once or as the product of two exponentials."""
        small = np.exp(-abs(self.value))
        value = np.where(self.value < 0, small, 1.0) / (1 + small)
        return Near(value, value * (1 - value) * (self.error + 2 * EXP + 1) + 2 * value)


def pool(
    x: Array, dim: int, weight: Array | None, largest: bool, index: bool
) -> tuple[Near, Array | None, Array | None]:
    """Mean and largest of x * weight along ``dim``, and where the first of the largest (or the first NaN) stands.

    Which is largest is decided after the products are rounded, so they are rounded here as well.
    """
    gated = Near.of(x) if weight is None else Near.of(x) * np.expand_dims(weight, 3 - dim)
    mean = gated.total(dim) * (1 / x.shape[dim])
    rounded = np.moveaxis(x if weight is None else x * np.expand_dims(weight, 3 - dim), dim, 0)
    most, place = rounded[0].copy(), np.zeros(rounded[0].shape, dtype=np.int32)
    for here, value in enumerate(rounded):
        better = (value > most) | (np.isnan(value) & ~np.isnan(most))
        most[better], place[better] = value[better], here
    return mean, most if largest else None, place if index else None


def _hits(index: Array, dim: int, length: int) -> Array:
    """1 where an element of the planes is the largest of its row or column, 0 elsewhere."""
    here = np.arange(length).reshape((-1, 1) if dim == 1 else (1, -1))
    return (np.expand_dims(index, dim) == here).astype(np.float64)


def pool_weight_gradient(x: Array, dim: int, mean: Array, largest: Array | None, index: Array | None) -> Near:
    """d/dw_p of sum_n (mean_n sum_p w_p x_pn + largest_n w_i x_in), i the place of n's largest."""
    terms = Near.of(x) * np.expand_dims(mean, dim)
    if largest is None or index is None:
        return terms.total(3 - dim)
    top = Near.of(x) * np.expand_dims(largest, dim) * _hits(index, dim, x.shape[dim])
    return terms.total(3 - dim) + top.total(3 - dim)


def _joined(row: Array | None, column: Array | None, how: str) -> Near:
    if row is None or column is None:
        return Near.of(row[:, :, None] if column is None else column[:, None, :])
    r, c = Near.of(row[:, :, None]), Near.of(column[:, None, :])
    if how == "sum":
        return r + c
    return Near.of(np.maximum(r.value, c.value)) if how == "max" else r * c


def _excess(row: Array | None, column: Array | None, how: str) -> Near:
    """The gate's factor without strength, less 1."""
    joined = _joined(row, column, how)
    return joined + -1.0 if how == "gates" else joined.sigmoid() + 1.0 + -1.0


def _factor(row: Array | None, column: Array | None, how: str, strength: Array | None) -> Near:
    if strength is None:
        joined = _joined(row, column, how)
        return joined if how == "gates" else joined.sigmoid() + 1.0
    return _excess(row, column, how) * strength + 1.0


def apply(
    x: Array,
    row: Array | None,
    column: Array | None,
    how: str,
    strength: Array | None,
    residual: Array | None,
    relu: bool,
) -> Near:
    """x f + residual, and no less than zero."""
    out = Near.of(x) * _factor(row, column, how, strength)
    if residual is not None:
        out = out + residual
    return Near(np.maximum(out.value, 0), out.error) if relu else out


def _slopes(row: Array | None, column: Array | None, how: str) -> tuple[Near, Near]:
    """df/dr and df/dc."""
    one = Near.of(np.ones((1, 1, 1)))
    if how == "gates":
        return (
            one if column is None else Near.of(column[:, None, :]),
            one if row is None else Near.of(row[:, :, None]),
        )
    gate = _joined(row, column, how).sigmoid()
    slope = gate * (gate * -1.0 + 1.0)
    if row is None or column is None or how == "sum":
        return slope, slope
    r, c = row[:, :, None], column[:, None, :]
    if how == "product":
        return slope * c, slope * r
    mine = np.where(r == c, 0.5, r > c)
    return slope * mine, slope * (1 - mine)


def apply_gradients(
    gradient: Array, x: Array, row: Array | None, column: Array | None, how: str, strength: Array | None
) -> tuple[Near | None, Near | None, Near | None]:
    """With q = gradient x: sum_k q s df/dr, sum_r q s df/dc, and the sum of q (f - 1)."""
    product = Near.of(gradient) * x
    moved = None
    if strength is not None:
        moved = (product * _excess(row, column, how)).total(2, 1, 0)
        product = product * strength
    by_row, by_column = _slopes(row, column, how)
    drow = None if row is None else (product * by_row).total(2)
    return drow, None if column is None else (product * by_column).total(1), moved


def map_gradient(
    x: Array,
    gradient: Array | None,
    row: Array | None,
    column: Array | None,
    how: str,
    strength: Array | None,
    across: Pooled | None,
    down: Pooled | None,
    extra: Array | None,
) -> Near:
    """gradient f + extra + for both pools w_p (mean_n + largest_n where p is the place of n's largest)."""
    total = Near.of(np.zeros(x.shape))
    if gradient is not None:
        total = total + Near.of(gradient) * _factor(row, column, how, strength)
    if extra is not None:
        total = total + extra
    for dim, pooled in ((2, across), (1, down)):
        if pooled is None:
            continue
        value = Near.of(np.expand_dims(pooled.mean, dim))
        if pooled.largest is not None:
            value = value + np.expand_dims(pooled.largest, dim) * _hits(pooled.places, dim, x.shape[dim])
        total = total + (value if pooled.weight is None else value * np.expand_dims(pooled.weight, 3 - dim))
    return total
