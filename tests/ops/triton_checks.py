"""Checks of the Triton kernels against ``plain``, each a function of the kernels; `python triton_checks.py pools`.

A program of its own, because Triton decides when it is imported whether it interprets its kernels on the host
(TRITON_INTERPRET=1) or compiles them: beside other tests only one of the two could be had. Compiled kernels run on
CUDA, interpreted ones on the CPU.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from whatwhere.ops import plain
from whatwhere.ops import triton as kernels_of_ours
from whatwhere.ops.planes import Pooled
from whatwhere.ops.triton import operators
from whatwhere.ops.triton.tiles import elements, own

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
NAN, INF = float("nan"), float("inf")
# One element; one row, one column; a tile that is not full; several tiles and pieces each way, none of them full.
SHAPES = ((1, 1, 1), (2, 1, 7), (2, 7, 1), (1, 33, 31), (2, 17, 300), (1, 1030, 3), (1, 2, 1100))
RAGGED = (2, 17, 300)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# the interpreter cuts bfloat16 off where a GPU rounds it, and loses denormals
EXACT = DTYPES[::2] if INTERPRETED else DTYPES
HOW = ("sum", "product", "max", "gates")
NEAR = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def fenced(values: Tensor) -> Tensor:
    """The values on the device, with NaN (or an index far outside) before and after them in memory."""
    bad = NAN if values.is_floating_point() else 2**30
    memory = values.new_full((values.numel() + 128,), bad, device=DEVICE)
    memory[64:-64] = values.flatten()
    return memory[64:-64].view(values.shape)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return fenced(torch.randn(shape).to(dtype))


def places(batch: int, left: int, size: int) -> Tensor:
    return fenced(torch.randint(size, (batch, left), dtype=torch.int32))


@contextmanager
def dirty_memory() -> Iterator[None]:
    """New memory is full of NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3, device=DEVICE).isnan().all()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def compare(
    kernels: Any, name: str, *arguments: Any, exact: tuple[int, ...] = (), twice: bool = not INTERPRETED
) -> None:
    """One kernel against its definition: numbers near, those at ``exact`` and all integers equal, inputs untouched."""
    before = [one.clone() if isinstance(one, Tensor) else one for one in arguments]
    with dirty_memory():
        found = getattr(kernels, name)(*arguments)
        again = getattr(kernels, name)(*arguments) if twice else found
    wanted = getattr(plain, name)(*arguments)
    tuples = [one if isinstance(one, tuple) else (one,) for one in (found, again, wanted)]
    for place, (value, second, right) in enumerate(zip(*tuples, strict=True)):
        if right is None:
            assert value is None
            continue
        assert value.dtype == right.dtype
        assert value.is_contiguous()
        near = 0.0 if place in exact else NEAR.get(value.dtype, 0.0)
        scale = right[right.isfinite()].abs().max().item() if right.isfinite().any() else 1.0
        torch.testing.assert_close(value, right, rtol=near, atol=near * max(1.0, scale), equal_nan=True)
        assert torch.equal(bits(value), bits(second)), "not the same bits twice"
    for one, was in zip(arguments, before, strict=True):
        assert not isinstance(one, Tensor) or torch.equal(bits(one), bits(was)), "an input was changed"


def bits(values: Tensor) -> Tensor:
    return values.flatten().view(torch.uint8)


def pools(kernels: Any) -> None:
    for shape, dim in itertools.product(SHAPES, (1, 2)):
        everything = shape == RAGGED
        for weighted, (largest, index), dtype in itertools.product(
            (True, False), ((True, True), (True, False), (False, False)), DTYPES if everything else DTYPES[:1]
        ):
            if everything or (largest and (weighted or index)):
                x, weight = normal(*shape, dtype=dtype), normal(shape[0], shape[dim])
                compare(kernels, "pool", x, dim, weight if weighted else None, largest, index, exact=(1,))


def extremes(kernels: Any) -> None:
    """Ties, NaN and infinities: the first of the largest, and a NaN is the largest."""
    few = torch.randint(0, 3, RAGGED).float()
    lost, spoilt = torch.full(RAGGED, -INF), torch.randn(RAGGED)
    spoilt[0, 3:9, 5:290:7] = NAN
    spoilt[1, :, 270:] = INF
    spoilt[1, 16] = -INF
    lost[0, 11, 290] = lost[1, 16, 299] = -1e38
    for x, dim in itertools.product((few, lost, spoilt, torch.full(RAGGED, NAN), -few.half() * 0), (1, 2)):
        compare(kernels, "pool", fenced(x), dim, None, True, True, exact=(1,))
    endless = fenced(torch.tensor([INF, -INF, NAN, 0.0, 1.0]).repeat(60)[None].repeat(2, 1))
    compare(kernels, "pool", fenced(few), 2, endless, True, True, exact=(1,))
    # 2^15 added up in float16 would pass its largest number, and in bfloat16 a sum would stop growing at 256
    for dtype, value in ((torch.float16, 2.0**15), (torch.bfloat16, 1.0)):
        long = fenced(torch.full((1, 5, 1100), value, dtype=dtype))
        mean = kernels.pool(long, 2, None, False, False)[0]
        assert torch.equal(mean, torch.full_like(mean, value))


def weight_gradients(kernels: Any) -> None:
    for shape, dim in itertools.product(SHAPES, (1, 2)):
        batch, left, size = shape[0], shape[3 - dim], shape[dim]
        for dtype in DTYPES if shape == RAGGED else DTYPES[:1]:
            x, mean, top = normal(*shape, dtype=dtype), normal(batch, left), normal(batch, left)
            compare(kernels, "pool_weight_gradient", x, dim, mean, top, places(batch, left, size))
            if shape == RAGGED:
                compare(kernels, "pool_weight_gradient", x, dim, mean, None, None)


def gates(shape: tuple[int, ...]) -> Iterator[tuple[Tensor | None, Tensor | None, str, Tensor | None]]:
    """Every way to make a factor of a shape."""
    batch, rows, columns = shape
    for row, column, how, strength in itertools.product((True, False), (True, False), HOW, (None, 0.7)):
        if row or column:
            yield (
                normal(batch, rows) if row else None,
                normal(batch, columns) if column else None,
                how,
                None if strength is None else fenced(torch.tensor(strength)),
            )


def applied(kernels: Any) -> None:
    for number, gate in enumerate(gates(RAGGED)):
        dtype = DTYPES[number % 3]
        residual = normal(*RAGGED, dtype=dtype) if number % 2 else None
        compare(kernels, "apply", normal(*RAGGED, dtype=dtype), *gate, residual, number % 3 == 0)
    for shape in SHAPES:
        gate = next(gates(shape))
        compare(kernels, "apply", normal(*shape), *gate, normal(*shape), True)
    for how, gate in huge():
        compare(kernels, "apply", normal(*RAGGED), *gate[:2], how, gate[2], None, False)
    zeros = torch.tensor([0.0, -0.0, 1e-40, -3.0]).repeat(75).expand(RAGGED)
    for number, (row, column, how, _) in enumerate(gates(RAGGED)):
        given = fenced(zeros.to(EXACT[number % len(EXACT)]))
        same = kernels.apply(given, row, column, how, fenced(torch.tensor(0.0)), None, False)
        assert torch.equal(bits(same), bits(given)), "strength 0 does not return the map to the bit"
    spoilt = torch.tensor([NAN, INF, -INF, -1.0]).repeat(75).expand(RAGGED).clone()
    compare(kernels, "apply", fenced(spoilt), normal(2, 17), None, "sum", None, None, True)
    small = fenced(torch.full((2, 17), 1e-7))
    found = kernels.apply(fenced(torch.ones(RAGGED)), small, None, "gates", None, None, False)
    assert torch.equal(found, small[:, :, None].expand(RAGGED)), "a small gate was taken through 1 and back"


def huge() -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor | None]]]:
    """Logits no sigmoid should stumble over, NaN and infinities among them."""
    some = torch.tensor([1000.0, -1000.0, 60.0, -60.0, 0.0, 88.8, -104.0, INF, -INF, NAN])
    row, column = some.repeat(2)[:17].expand(2, 17).clone(), some.repeat(30).expand(2, 300).clone()
    for how, strength in itertools.product(HOW[:3], (None, fenced(torch.tensor(0.5)))):
        yield how, (fenced(row), fenced(column), strength)


def gate_gradients(kernels: Any) -> None:
    for number, gate in enumerate(gates(RAGGED)):
        dtype = DTYPES[number % 3]
        compare(kernels, "apply_gradients", normal(*RAGGED, dtype=dtype), normal(*RAGGED, dtype=dtype), *gate)
    for shape in SHAPES:
        batch, rows, columns = shape
        gate = normal(batch, rows), normal(batch, columns), "sum", fenced(torch.tensor(0.3))
        compare(kernels, "apply_gradients", normal(*shape), normal(*shape), *gate)
    for how, gate in huge():
        compare(kernels, "apply_gradients", normal(*RAGGED), normal(*RAGGED), *gate[:2], how, gate[2])
    equal = fenced(torch.ones(2, 17)), fenced(torch.ones(2, 300))
    compare(kernels, "apply_gradients", normal(*RAGGED), normal(*RAGGED), *equal, "max", None)
    # an infinite number times what a tile reads past the planes' end must not become NaN
    endless = fenced(torch.full((2, 17), INF))
    for how in ("gates", "product"):
        compare(
            kernels, "apply_gradients", normal(*RAGGED), normal(*RAGGED), endless, normal(2, 300).abs() + 1, how, None
        )


def map_gradients(kernels: Any) -> None:
    def pooled(shape: tuple[int, ...], dim: int, largest: bool, weighted: bool) -> Pooled:
        batch, left, size = shape[0], shape[3 - dim], shape[dim]
        top = (normal(batch, left), places(batch, left, size)) if largest else (None, None)
        return Pooled(normal(batch, left), *top, normal(batch, size) if weighted else None)

    for number, gate in enumerate(gates(RAGGED)):
        dtype = DTYPES[number % 3]
        across = pooled(RAGGED, 2, bool(number & 1), bool(number & 2)) if number & 4 else None
        down = pooled(RAGGED, 1, bool(number & 2), bool(number & 4)) if number & 1 else None
        extra = normal(*RAGGED, dtype=dtype) if number & 2 else None
        x, gradient = normal(*RAGGED, dtype=dtype), normal(*RAGGED, dtype=dtype)
        compare(kernels, "map_gradient", x, gradient, *gate, across, down, extra)
    nothing = (None, None, None, "gates", None)
    for shape in SHAPES:
        parts = pooled(shape, 2, True, True), pooled(shape, 1, True, True)
        compare(kernels, "map_gradient", normal(*shape), *nothing, *parts, normal(*shape))
        gate = next(gates(shape))
        compare(kernels, "map_gradient", normal(*shape), normal(*shape), *gate, *parts, None)
    compare(kernels, "map_gradient", normal(*RAGGED), *nothing, None, None, None)
    unread = fenced(torch.full(RAGGED, NAN))
    assert not kernels.map_gradient(unread, normal(*RAGGED), *gates(RAGGED).__next__(), None, None, None).isnan().any()


def launches(kernels: Any) -> None:
    """How many kernels run: one, and one more for each result that several programs had a part in."""
    count = [0]
    modules = [import_module(f"{kernels.__name__}.{name}") for name in ("pooling", "gate", "gradients")]
    launch = modules[0].launch

    def counted(*arguments: Any, **constants: Any) -> None:
        count[0] += 1
        launch(*arguments, **constants)

    for module in modules:
        module.launch = counted
    x, split = normal(2, 8, 256), normal(1, 64, 1030)
    one, two, strength = (normal(2, 8), normal(2, 256)), (normal(1, 64), normal(1, 1030)), fenced(torch.tensor(0.5))
    index, other = places(2, 8, 256), places(1, 64, 1030)
    for wanted, name, arguments in (
        (1, "pool", (x, 1, one[0], True, True)),
        (1, "pool", (x, 2, one[1], True, True)),
        (2, "pool", (split, 1, two[0], True, True)),
        (2, "pool", (split, 2, None, False, False)),
        (1, "pool_weight_gradient", (x, 2, one[0], one[0], index)),
        (2, "pool_weight_gradient", (split, 2, two[0], two[0], other)),
        (1, "apply", (split, *two, "sum", strength, split, True)),
        (1, "apply_gradients", (x[:1], x[:1], one[0][:1], one[1][:1], "sum", strength)),
        (2, "apply_gradients", (x, x, *one, "sum", strength)),
        (3, "apply_gradients", (split, split, *two, "gates", None)),
        (4, "apply_gradients", (split, split, *two, "sum", strength)),
        (1, "map_gradient", (split, split, *two, "sum", strength, Pooled(two[0], two[0], other, two[1]), None, split)),
        (0, "map_gradient", (x[:0], x[:0], one[0][:0], one[1][:0], "sum", None, None, None, None)),
    ):
        count[0] = 0
        result = getattr(kernels, name)(*arguments)
        assert count[0] == wanted or not (wanted or result.numel()), (name, count[0], wanted)
    for module in modules:
        module.launch = launch


def corners(kernels: Any) -> None:
    """An empty batch, the same bits twice, offsets in 64 bits, and what the operators return in place of None."""
    none, row = torch.empty(0, 3, 4, device=DEVICE), torch.empty(0, 3, device=DEVICE)
    compare(kernels, "pool", none, 2, None, True, True)
    compare(kernels, "apply", none, row, None, "sum", None, None, False)
    compare(kernels, "apply_gradients", none, none, row, None, "sum", fenced(torch.tensor(0.5)))
    compare(kernels, "map_gradient", none, none, row, None, "sum", None, None, None, None)
    for name, arguments in (
        ("pool", (normal(*RAGGED), 2, None, True, True)),
        ("pool_weight_gradient", (normal(*RAGGED), 1, normal(2, 300), None, None)),
        ("apply_gradients", (normal(*RAGGED), normal(*RAGGED), *next(gates(RAGGED)))),
    ):
        compare(kernels, name, *arguments, twice=True)
    found = torch.zeros(8, 16, dtype=torch.int64, device=DEVICE)
    rows, columns, batch = 1024, 2048, 1500
    _offsets[(1,)](found, batch * (rows // 8), rows, columns, HIGH=8, WIDE=16)
    right = torch.arange(8)[:, None] * columns + torch.arange(16) + batch * rows * columns
    assert torch.equal(found.cpu(), right), "offsets past 2^31 are wrong"
    x = normal(2, 3, 4)
    assert [tuple(one.shape) for one in operators._pool(x, 1, None, False, False)] == [(2, 4), (0,), (0,)]
    mean, most, place = operators._pool(x, 2, None, True, True)
    assert (place.dtype, most.shape, mean.dtype) == (torch.int32, (2, 3), torch.float32)
    gradients = operators._apply_gradients(x, x, None, normal(2, 4), "sum", None)
    assert [tuple(one.shape) for one in gradients] == [(0,), (2, 4), (0,)]
    across = [normal(2, 3), None, None, normal(2, 4)]
    both = [
        function(x, None, None, None, "gates", None, *parts, None)
        for function, parts in (
            (operators._map_gradient, (across, [])),
            (kernels.map_gradient, (Pooled(*across), None)),
        )
    ]
    assert torch.equal(*both)
    assert (operators.register() is None) == INTERPRETED
    if not INTERPRETED:
        native(kernels)


def native(kernels: Any) -> None:
    """Only where kernels are compiled: the operators, a graph, and a map of more than 2^31 elements."""
    import_module("whatwhere.ops.operators")
    x, row, column = normal(2, 49, 64), normal(2, 49), normal(2, 64)
    arguments = (x, row, column, "sum", None, x, True)
    torch.library.opcheck(torch.ops.whatwhere.apply.default, arguments)
    torch.library.opcheck(torch.ops.whatwhere.pool.default, (x, 2, None, True, True))
    eager, graph = kernels.apply(*arguments), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = torch.ops.whatwhere.apply(*arguments)
    graph.replay()
    assert torch.equal(captured, eager)
    if torch.cuda.mem_get_info()[0] > 2**34:
        long = torch.ones(2, 2**15, 2**15 + 16, dtype=torch.bfloat16, device=DEVICE)
        long[1, -1, -1] = 3
        gate = torch.zeros(2, 2**15, device=DEVICE)
        _, most, place = kernels.pool(long, 2, None, True, True)
        assert (most[1, -1].item(), place[1, -1].item(), most[1, 0].item()) == (3, 2**15 + 15, 1)
        assert kernels.apply(long, gate, None, "sum", None, None, False)[1, -1, -2:].tolist() == [1.5, 4.5]


@triton.jit
def _offsets(out, program, R, K, HIGH: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    batch, _, rows = own(program, R, 1, HIGH)
    at, _ = elements(batch, rows, tl.arange(0, WIDE), R, K, 2)
    tl.store(out + tl.arange(0, HIGH)[:, None] * WIDE + tl.arange(0, WIDE)[None, :], at)


CHECKS: dict[str, Callable[[Any], None]] = {
    check.__name__: check
    for check in (
        pools, extremes, weight_gradients, applied, gate_gradients, map_gradients, launches, corners,
    )
}  # fmt: skip

if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for chosen in sys.argv[1:]:
        CHECKS[chosen](kernels_of_ours)
