"""Arguments for the kernels, and the two ways to judge what they return: the oracles' bounds, and plain.py."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from support import kernel_oracles as oracles
from support.contract import bits
from support.kernel_oracles import Near
from torch import Tensor

from whatwhere.ops import plain
from whatwhere.ops.kernels import Kernels
from whatwhere.ops.planes import Pooled

__all__ = ["GATES", "HOWS", "ODD", "POOLED", "POOLS", "SHAPES", "WIDE", "Inputs", "agree", "calls", "fenced"]
__all__ += ["like_plain", "same", "tensors", "words"]

Call = tuple[str, tuple[Any, ...]]
HOWS = ("sum", "product", "max", "gates")
SHAPES = ((1, 1, 1), (3, 1, 7), (2, 7, 1), (2, 3, 4), (1, 2, 33), (2, 17, 31), (1, 33, 17), (1, 3, 257), (1, 257, 3))
ODD = (2, 49, 65)
# Enough for every way of sharing work among threads: many rows, few long ones, many short ones.
WIDE = ((2, 67, 523), (1, 3, 25013), (1, 2053, 33))


class Inputs:
    """Random arguments for planes of one shape; numbers a row or a column are wide."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        batch, rows, columns = shape
        self.wide = plain.wide(dtype)
        self.x, self.gradient, self.residual, self.extra = (torch.randn(shape).to(dtype) for _ in range(4))
        self.row, self.column = self.numbers(batch, rows), self.numbers(batch, columns)
        self.strength = torch.tensor(0.7, dtype=self.wide)
        # By the dimension that is pooled: what runs along it, what is left, and where the largest was.
        self.weight = {1: self.numbers(batch, rows), 2: self.numbers(batch, columns)}
        self.left = {dim: self.numbers(2, batch, shape[3 - dim]) for dim in (1, 2)}
        self.index = {dim: torch.randint(shape[dim], (batch, shape[3 - dim]), dtype=torch.int32) for dim in (1, 2)}

    def numbers(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=self.wide)

    def gate(self, which: str, how: str, strong: bool) -> tuple[Tensor | None, Tensor | None, str, Tensor | None]:
        row = None if which == "column" else self.row
        return row, None if which == "row" else self.column, how, self.strength if strong else None

    def pooled(self, dim: int, largest: bool, weighted: bool) -> Pooled:
        mean, top = self.left[dim]
        weight = self.weight[dim] if weighted else None
        return Pooled(mean, top, self.index[dim], weight) if largest else Pooled(mean, None, None, weight)


GATES = tuple(product(("row", "column", "both"), HOWS, (False, True)))
POOLS = ((False, False), (True, False), (True, True))
POOLED = (None, *product((False, True), (False, True)))


def agree(kernels: Kernels, name: str, *args: Any) -> None:
    """One call, held against the oracle: dtypes, shapes, exact results exactly, the rest within their bounds."""
    x = args[1] if name == "apply_gradients" else args[0]
    found = getattr(kernels, name)(*args)
    wanted = getattr(oracles, name)(*(_array(value) for value in args))
    several = isinstance(wanted, tuple)
    assert isinstance(found, tuple) == several, name
    for one, (got, want) in enumerate(zip(found, wanted, strict=True) if several else [(found, wanted)]):
        label = f"{name}[{one}] {tuple(x.shape)} {words(args)}"
        assert (got is None) == (want is None), label
        if want is None:
            continue
        integer = not isinstance(want, Near) and want.dtype == np.int32
        dtype = x.dtype if name in ("apply", "map_gradient") else plain.wide(x.dtype)
        assert got.dtype == (torch.int32 if integer else dtype), label
        assert got.is_contiguous(), label
        _compare(got, want, label)


def _array(value: Any) -> Any:
    """What the oracles take: arrays in the wide dtype, integers as they are."""
    if isinstance(value, Pooled):
        return Pooled(*(_array(part) for part in value))
    if not isinstance(value, Tensor):
        return value
    return (value.to(plain.wide(value.dtype)) if value.is_floating_point() else value).cpu().numpy()


def _compare(got: Tensor, want: Any, label: str) -> None:
    here = got.detach().cpu().double().numpy()
    if not isinstance(want, Near):
        np.testing.assert_array_equal(here, want, err_msg=label)
        return
    unit = torch.finfo(plain.wide(got.dtype)).eps / 2
    kept = torch.finfo(got.dtype)
    # Twice: kernels may take the same operations in another order; and the last rounding, to the dtype of the result.
    bound = 2 * unit * want.error + kept.eps / 2 * abs(want.value) + kept.tiny
    assert here.shape == want.value.shape, label
    wrong = ~(abs(here - want.value) <= bound)
    assert not wrong.any(), f"{label}: {here[wrong][:3]} instead of {want.value[wrong][:3]} at {np.argwhere(wrong)[:3]}"


def like_plain(kernels: Kernels, name: str, *args: Any) -> None:
    """One call with values no bound is known for: NaN and infinite where plain.py is, near elsewhere."""
    found, wanted = getattr(kernels, name)(*args), getattr(plain, name)(*args)
    found, wanted = (value if isinstance(value, tuple) else (value,) for value in (found, wanted))
    for got, want in zip(found, wanted, strict=True):
        label = f"{name} {words(args)}"
        assert (got is None) == (want is None), label
        if want is not None:
            close = 16 * torch.finfo(want.dtype).eps if want.is_floating_point() else 0.0
            torch.testing.assert_close(
                got, want, rtol=close, atol=close, equal_nan=True, msg=lambda text, label=label: f"{label}: {text}"
            )


def calls(given: Inputs) -> Iterator[Call]:
    """Every kernel with every kind of argument, a few dozen calls."""
    x, gradient = given.x, given.gradient
    for dim, weighted in product((1, 2), (False, True)):
        yield "pool", (x, dim, given.weight[dim] if weighted else None, True, True)
        yield "pool", (x, dim, given.weight[dim] if weighted else None, False, False)
    for dim in (1, 2):
        yield "pool_weight_gradient", (x, dim, *given.left[dim], given.index[dim])
    for which, how in (("row", "sum"), ("column", "product"), ("both", "max"), ("both", "gates"), ("both", "sum")):
        for strong in (False, True):
            numbers = given.gate(which, how, strong)
            yield "apply", (x, *numbers, given.residual if strong else None, strong)
            yield "apply_gradients", (gradient, x, *numbers)
            pooled = (given.pooled(2, True, strong), given.pooled(1, strong, True))
            yield "map_gradient", (x, gradient, *numbers, *pooled, given.extra)
    yield "map_gradient", (x, None, None, None, "sum", None, given.pooled(2, False, False), None, None)


def words(args: tuple[Any, ...]) -> list[str]:
    """The arguments of a call, short enough for a message."""
    long = (Tensor, Pooled)
    return [type(value).__name__ if isinstance(value, long) else str(value) for value in args]


def fenced(value: Any) -> Any:
    """A copy with NaN (or a far index) right before and after it, and no better aligned than its dtype."""
    if isinstance(value, Pooled):
        return Pooled(*(fenced(part) for part in value))
    if not isinstance(value, Tensor):
        return value
    fence = float("nan") if value.is_floating_point() else 2**30
    memory = torch.full((value.numel() + 131,), fence, dtype=value.dtype)
    memory[67 : 67 + value.numel()] = value.flatten()
    return memory[67 : 67 + value.numel()].view(value.shape)


def tensors(*values: Any) -> list[Tensor]:
    """All tensors in some arguments or results."""
    return [t for v in values for t in ([v] if isinstance(v, Tensor) else tensors(*v) if isinstance(v, tuple) else [])]


def same(first: Any, second: Any) -> bool:
    """Whether two results are the same to the bit."""
    one, other = (
        [bits(value) if value.is_floating_point() else value for value in tensors(x)] for x in (first, second)
    )
    return all(map(torch.equal, one, other))
