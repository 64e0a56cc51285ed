"""What every set of kernels owes: each check takes the set and a dtype, and raises AssertionError where it falls short.

Inputs are made on torch's default device, so ``with torch.device("cuda"):`` holds the kernels of a GPU to the same.
``CHECKS`` take a second or so together on plain torch; those in ``LONG`` read hundreds of megabytes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import numpy as np
import torch
from support.contract import bits
from support.kernel_cases import (
    GATES,
    HOWS,
    ODD,
    POOLED,
    POOLS,
    SHAPES,
    WIDE,
    Inputs,
    agree,
    calls,
    fenced,
    like_plain,
    same,
    tensors,
    words,
)

from whatwhere.ops import plain
from whatwhere.ops.kernels import Kernels

__all__ = ["CHECKS", "LONG", "any_number_of_threads", "beyond_int32"]

Check = Callable[[Kernels, torch.dtype], None]


def pool_values(kernels: Kernels, dtype: torch.dtype) -> None:
    for shape in (*SHAPES, ODD):
        given = Inputs(shape, dtype)
        for dim, weighted, (largest, index) in product((1, 2), (False, True), POOLS):
            agree(kernels, "pool", given.x, dim, given.weight[dim] if weighted else None, largest, index)


def pool_ties(kernels: Kernels, dtype: torch.dtype) -> None:
    """The first of equals: few different values, rows that are equal throughout, products that are equal."""
    for shape in (*SHAPES, ODD):
        given = Inputs(shape, dtype)
        for x in (given.x.sign(), (2 * given.x).round(), torch.zeros_like(given.x), torch.full_like(given.x, -3.0)):
            for dim in (1, 2):
                agree(kernels, "pool", x, dim, None, True, True)
                agree(kernels, "pool", x, dim, given.weight[dim].sign(), True, True)
                agree(kernels, "pool", x, dim, torch.zeros_like(given.weight[dim]), True, True)
    x = torch.tensor([[[1.0, 2.0, 3.0, 3.0, 2.0]]], dtype=dtype)
    weight = torch.tensor([[1.0, 3.0, 2.0, 1.0, 3.0]], dtype=plain.wide(dtype))
    for dim, planes in ((2, x), (1, x.transpose(1, 2).contiguous())):
        mean, largest, index = kernels.pool(planes, dim, weight, True, True)
        assert largest is not None
        assert index is not None
        assert (index.item(), largest.item()) == (1, 6.0)
        np.testing.assert_allclose(mean.item(), 22 / 5, rtol=1e-6)


def pool_specials(kernels: Kernels, dtype: torch.dtype) -> None:
    """The first NaN is the largest of all; infinities, and weights that are 0, negative or infinite."""
    nan, inf = float("nan"), float("inf")
    lines = (
        [nan, 1, 2],
        [1, nan, inf, nan],
        [inf, 1, inf],
        [-inf, -inf, -inf],
        [-inf, 0, -1],
        [inf, -inf],
        [1, 2, nan],
    )
    for line, length, dim in product(lines, (0, 40), (1, 2)):
        row = torch.cat([torch.full((length,), -7.0), torch.tensor(line), torch.full((length // 3,), -7.0)])
        x = torch.stack([row, row.flip(0), torch.zeros_like(row)]).to(dtype)[None]
        x = x if dim == 2 else x.transpose(1, 2).contiguous()
        weights = [None, *(torch.full((1, row.numel()), w, dtype=plain.wide(dtype)) for w in (0.0, -1.0, inf, nan))]
        for weight, (largest, index) in product(weights, POOLS):
            like_plain(kernels, "pool", x, dim, weight, largest, index)


def weight_gradient_values(kernels: Kernels, dtype: torch.dtype) -> None:
    for shape in (*SHAPES, ODD):
        given = Inputs(shape, dtype)
        for dim in (1, 2):
            mean, largest = given.left[dim]
            agree(kernels, "pool_weight_gradient", given.x, dim, mean, largest, given.index[dim])
            agree(kernels, "pool_weight_gradient", given.x, dim, mean, None, None)
            for place in (0, shape[dim] - 1):
                agree(kernels, "pool_weight_gradient", given.x, dim, mean, largest, given.index[dim] * 0 + place)


def weight_gradient_specials(kernels: Kernels, dtype: torch.dtype) -> None:
    """What is infinite reaches its own row and column, and no other."""
    for dim, spoilt in product((1, 2), (float("inf"), float("nan"))):
        given = Inputs((2, 5, 37), dtype)
        mean, largest = given.left[dim]
        for target in (mean, largest, given.x):
            kept = target.clone()
            target[..., -1] = spoilt
            like_plain(kernels, "pool_weight_gradient", given.x, dim, mean, largest, given.index[dim])
            target.copy_(kept)


def apply_values(kernels: Kernels, dtype: torch.dtype) -> None:
    for shape in (*SHAPES, ODD):
        given = Inputs(shape, dtype)
        for gate, residual, relu in product(GATES, (None, given.residual), (False, True)):
            agree(kernels, "apply", given.x, *given.gate(*gate), residual, relu)


def apply_gradients_values(kernels: Kernels, dtype: torch.dtype) -> None:
    for shape in (*SHAPES, ODD):
        given = Inputs(shape, dtype)
        for gate in GATES:
            agree(kernels, "apply_gradients", given.gradient, given.x, *given.gate(*gate))


def equal_logits(kernels: Kernels, dtype: torch.dtype) -> None:
    """Of two equal logits under ``max`` each takes half of the gradient."""
    given = Inputs((2, 5, 37), dtype)
    given.row, given.column = given.row.sign(), given.column.sign()
    for strong in (False, True):
        agree(kernels, "apply_gradients", given.gradient, given.x, *given.gate("both", "max", strong))


def huge_logits(kernels: Kernels, dtype: torch.dtype) -> None:
    """A sigmoid saturates; it neither overflows on the way nor forgets what cancels."""
    ends = (-1000.0, -88.0, -60.0, -45.0, -17.0, 0.0, 45.0, 60.0, 88.0, 1000.0)
    given = Inputs((2, len(ends), 37), dtype)
    given.row = torch.tensor([ends, ends], dtype=given.wide)
    for logit, gate in product(ends, GATES):
        if gate[1] == "gates":
            continue
        given.column = torch.full_like(given.column, logit)
        agree(kernels, "apply", given.x, *given.gate(*gate), None, False)
        agree(kernels, "apply_gradients", given.gradient, given.x, *given.gate(*gate))
        agree(kernels, "map_gradient", given.x, given.gradient, *given.gate(*gate), None, None, None)


def gate_specials(kernels: Kernels, dtype: torch.dtype) -> None:
    """NaN and infinities in the map, its gradient, the residual and the gate's numbers."""
    nan, inf = float("nan"), float("inf")
    for spoilt, gate in product(("x", "gradient", "residual", "row", "column"), GATES):
        given = Inputs((1, 4, 37), dtype)
        target = getattr(given, spoilt)
        target[..., -1], target[..., 0], target[..., 1] = nan, inf, -inf
        numbers = given.gate(*gate)
        for residual, relu in product((None, given.residual), (False, True)):
            like_plain(kernels, "apply", given.x, *numbers, residual, relu)
        like_plain(kernels, "map_gradient", given.x, given.gradient, *numbers, None, None, None)
        # Sums near zero of values near one: what is finite is compared where it is exact.
        given.x, given.gradient = given.x.sign(), given.gradient.sign()
        like_plain(kernels, "apply_gradients", given.gradient, given.x, *numbers)
    given = Inputs((1, 4, 37), dtype)
    given.row[0, 0], given.column[0, :2] = inf, torch.tensor([inf, -inf])
    for how in HOWS:
        like_plain(kernels, "apply", given.x, given.row, given.column, how, None, None, False)


def strength_zero(kernels: Kernels, dtype: torch.dtype) -> None:
    """At strength 0 the result is x to the bit: minus zero, denormals and infinities as well."""
    given = Inputs((2, 5, 37), dtype)
    given.x[0, 0, :5] = torch.tensor([-0.0, 0.0, torch.finfo(dtype).tiny / 4, float("inf"), -float("inf")])
    given.x[1, -1, -1] = -0.0
    given.strength = torch.zeros_like(given.strength)
    for which, how in product(("row", "column", "both"), HOWS):
        out = kernels.apply(given.x, *given.gate(which, how, True), None, False)
        assert torch.equal(bits(out), bits(given.x)), (which, how)


def map_gradient_values(kernels: Kernels, dtype: torch.dtype) -> None:
    for shape in SHAPES:
        given = Inputs(shape, dtype)
        gate = given.gate("both", "sum", True)
        for across, down, gradient, extra in product(POOLED, POOLED, (None, given.gradient), (None, given.extra)):
            if across is down is gradient is extra is None:
                continue
            pooled = (across and given.pooled(2, *across), down and given.pooled(1, *down))
            agree(kernels, "map_gradient", given.x, gradient, *gate, *pooled, extra)
    for shape, gate, weighted in product(((2, 7, 1), (1, 33, 17), ODD), GATES, (False, True)):
        given = Inputs(shape, dtype)
        pooled = (given.pooled(2, True, weighted), given.pooled(1, True, not weighted))
        agree(kernels, "map_gradient", given.x, given.gradient, *given.gate(*gate), *pooled, given.extra)


def map_gradient_specials(kernels: Kernels, dtype: torch.dtype) -> None:
    """The map is not read, and an infinite gradient of a largest value touches its place alone."""
    for weighted, spoilt in product((False, True), (float("inf"), float("nan"))):
        given = Inputs((2, 5, 37), dtype)
        args = (given.gradient, *given.gate("both", "gates", False))
        pooled = [given.pooled(dim, True, weighted) for dim in (2, 1)]
        clean = kernels.map_gradient(given.x, *args, *pooled, given.extra)
        found = kernels.map_gradient(torch.full_like(given.x, float("nan")), *args, *pooled, given.extra)
        assert torch.equal(bits(found), bits(clean))
        for dim in (1, 2):
            kept = given.left[dim].clone()
            given.left[dim][1, ..., ::3] = spoilt
            like_plain(kernels, "map_gradient", given.x, *args, *pooled, given.extra)
            given.left[dim].copy_(kept)
        given.weight[2][:, -1] = spoilt
        like_plain(kernels, "map_gradient", given.x, *args, *pooled, given.extra)


@contextmanager
def poisoned() -> Iterator[None]:
    """Memory that torch hands out is full of NaN, and of the largest integers."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def nothing_left_unwritten(kernels: Kernels, dtype: torch.dtype) -> None:
    for shape in (*SHAPES, ODD):
        with poisoned():
            for name, args in calls(Inputs(shape, dtype)):
                agree(kernels, name, *args)


def nothing_read_outside(kernels: Kernels, dtype: torch.dtype) -> None:
    for shape in (*SHAPES, ODD):
        for name, args in calls(Inputs(shape, dtype)):
            agree(kernels, name, *(fenced(value) for value in args))


def inputs_unchanged(kernels: Kernels, dtype: torch.dtype) -> None:
    """Nothing given is written to, and nothing returned is a view of it."""
    for name, args in calls(Inputs(ODD, dtype)):
        given = tensors(*args)
        before = [value.clone() for value in given]
        found = tensors(getattr(kernels, name)(*args))
        assert all(torch.equal(one, other) for one, other in zip(given, before, strict=True)), name
        mine = {value.untyped_storage().data_ptr() for value in given}
        assert not mine & {value.untyped_storage().data_ptr() for value in found}, name


def same_bits_twice(kernels: Kernels, dtype: torch.dtype) -> None:
    for shape in (ODD, WIDE[0]):
        for name, args in calls(Inputs(shape, dtype)):
            assert same(getattr(kernels, name)(*args), getattr(kernels, name)(*args)), (name, shape, words(args))


def any_number_of_threads(kernels: Kernels, dtype: torch.dtype) -> None:
    """Threads share the work and leave no trace in the bits. (Not among ``CHECKS``: torch's own sums do.)"""
    before = torch.get_num_threads()
    try:
        for shape in WIDE:
            for name, args in calls(Inputs(shape, dtype)):
                torch.set_num_threads(1)
                alone = getattr(kernels, name)(*args)
                for threads in (2, 3):
                    torch.set_num_threads(threads)
                    assert same(alone, getattr(kernels, name)(*args)), (name, shape, threads, words(args))
    finally:
        torch.set_num_threads(before)


def threads_agree(kernels: Kernels, dtype: torch.dtype) -> None:
    """Three threads compute what the formulas say."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for shape in WIDE:
            for name, args in calls(Inputs(shape, dtype)):
                agree(kernels, name, *args)
    finally:
        torch.set_num_threads(before)


def empty_batch(kernels: Kernels, dtype: torch.dtype) -> None:
    for name, args in calls(Inputs((0, 3, 5), dtype)):
        agree(kernels, name, *args)


def long_sums(kernels: Kernels, dtype: torch.dtype) -> None:
    """Sums of a million fours are exact in float32, and stall early in bfloat16 or overflow in float16."""
    million = 10**6
    x = torch.full((1, 1, million), 4.0, dtype=dtype)
    one = torch.ones(1, 1, dtype=plain.wide(dtype))
    for dim, planes in ((2, x), (1, x.view(1, million, 1))):
        other = planes.view(1, 1, million) if dim == 1 else planes.view(1, million, 1)
        assert kernels.pool(planes, dim, None, False, False)[0].item() == 4.0
        assert kernels.pool_weight_gradient(other, dim, one.expand(1, million).contiguous(), None, None).item() == 4e6
    found = kernels.apply_gradients(torch.full_like(x, 0.25), x, one, None, "gates", one[0, 0])
    assert found[0] is not None
    assert (found[0].item(), found[2].item()) == (1e6, 0.0)  # type: ignore[union-attr]
    found = kernels.apply_gradients(torch.full_like(x, 0.25), x, 5 * one, None, "gates", one[0, 0])
    assert found[2] is not None
    np.testing.assert_allclose(found[2].item(), 4e6, rtol=1e-6)


def longer_sums(kernels: Kernels, dtype: torch.dtype) -> None:
    """One running float32 sum of ones stalls at 2^24; several partial sums pass it."""
    x = torch.ones(1, 1, 2**25, dtype=dtype)
    for dim, planes in ((2, x), (1, x.view(1, -1, 1))):
        mean, largest, index = kernels.pool(planes, dim, None, True, True)
        np.testing.assert_allclose(mean.item(), 1.0, rtol=1e-6)
        assert (largest.item(), index.item()) == (1.0, 0)  # type: ignore[union-attr]


def beyond_int32(kernels: Kernels, dtype: torch.dtype) -> None:
    """More than 2^31 elements, few long rows and many short ones; two tensors of that size at a time."""
    x = torch.zeros(2**31 + 2**18, dtype=dtype)
    for rows, columns in ((2, 2**30 + 5), (2**16 + 1, 2**15 + 3)):
        planes = x[: rows * columns].view(1, rows, columns)
        planes[0, -1, -1], planes[0, -1, 3] = 4.0, -2.0
        numbers = torch.zeros(1, rows, dtype=plain.wide(dtype))
        numbers[0, -1] = 3.0
        mean, largest, index = kernels.pool(planes, 2, None, True, True)
        assert (largest[0, -1].item(), index[0, -1].item()) == (4.0, columns - 1)  # type: ignore[index]
        np.testing.assert_allclose(mean[0, -1].item() * columns, 2.0, rtol=1e-6)
        assert not mean[0, :-1].any()
        if columns < 2**20:
            mean, largest, index = kernels.pool(planes, 1, numbers, True, True)
            assert (largest[0, -1].item(), index[0, -1].item(), index[0, 3].item()) == (12.0, rows - 1, 0)  # type: ignore[index]
            np.testing.assert_allclose(mean[0, 3].item() * rows, -6.0, rtol=1e-6)
        out = kernels.apply(planes, numbers, None, "gates", None, None, False)
        assert (out[0, -1, -1].item(), out[0, -1, 3].item(), out[0, 0, 0].item()) == (12.0, -6.0, 0.0)
        del out, mean, largest, index
        drow, _, _ = kernels.apply_gradients(planes, planes, numbers, None, "gates", None)
        assert (drow[0, -1].item(), drow[0, 0].item()) == (20.0, 0.0)  # type: ignore[index]
        found = kernels.map_gradient(planes, planes, numbers, None, "gates", None, None, None, None)
        assert (found[0, -1, -1].item(), found[0, -1, 3].item(), found[0, 0, 0].item()) == (12.0, -6.0, 0.0)
        del found
        planes.zero_()


CHECKS: tuple[Check, ...] = (
    pool_values,
    pool_ties,
    pool_specials,
    weight_gradient_values,
    weight_gradient_specials,
    apply_values,
    apply_gradients_values,
    equal_logits,
    huge_logits,
    gate_specials,
    strength_zero,
    map_gradient_values,
    map_gradient_specials,
    nothing_left_unwritten,
    nothing_read_outside,
    inputs_unchanged,
    same_bits_twice,
    threads_agree,
    empty_batch,
)
LONG: tuple[Check, ...] = (long_sums, longer_sums)
