"""Gradients through a reading: right to the numbers, carried in one pass, and kept in as few bytes as promised."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from ops.test_kernel_contract import compiled_kernels
from ops.test_planes import last
from torch import Tensor
from torch.autograd import gradcheck
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from whatwhere.ops import dispatch, reference
from whatwhere.ops.reading import Reading, read

forms = pytest.mark.parametrize("form", [torch.Tensor.contiguous, last], ids=["contiguous", "channels_last"])


@pytest.fixture(params=["reference", "cpu"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """What float32 runs on."""
    _, problem = compiled_kernels()
    if request.param == "cpu" and problem is not None:
        pytest.skip(f"the C++ kernels cannot run here: {problem}")
    with dispatch.backend(request.param):
        yield


@dataclass
class Stock:
    """A reading by the reference formulas, with stock autograd."""

    map: Tensor

    def pool_positions(self, pools: Any, spatial: Tensor | None = None) -> Tensor:
        return reference.pool_positions(self.map, pools, spatial)

    def pool_channels(self, pools: Any, channel: Tensor | None = None) -> Tensor:
        return reference.pool_channels(self.map, pools, channel)

    def apply(
        self,
        channel: Tensor | None,
        spatial: Tensor | None,
        how: str,
        strength: Tensor | None = None,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        out = reference.apply_factor(self.map, reference.factor(channel, spatial, how), strength)
        out = out if residual is None else out + residual
        return out.relu() if relu else out


def _channel(pooled: Tensor, weight: Tensor, ndim: int) -> Tensor:
    logits = (pooled @ weight).sum(0)
    return logits.reshape(*logits.shape, *[1] * (ndim - 2))


def _spatial(described: Tensor, mix: Tensor) -> Tensor:
    mixed = (described * mix.reshape(1, 2, *[1] * (described.ndim - 2))).sum(1, keepdim=True)
    return mixed - 0.1 * mixed.flatten(1).sum(1).reshape(-1, *[1] * (mixed.ndim - 1))


def channel_first(r: Reading, weight: Tensor, mix: Tensor, strength: Tensor | None, residual: Tensor | None) -> Tensor:
    channel = _channel(r.pool_positions(("avg", "max")), weight, r.map.ndim).sigmoid()
    spatial = _spatial(r.pool_channels(("avg", "max"), channel), mix).sigmoid()
    return r.apply(channel, spatial, "gates", strength, residual, residual is not None)


def spatial_first(r: Reading, weight: Tensor, mix: Tensor, strength: Tensor | None, residual: Tensor | None) -> Tensor:
    spatial = _spatial(r.pool_channels(("max", "avg")), mix).sigmoid()
    channel = _channel(r.pool_positions(("avg", "max"), spatial), weight, r.map.ndim).sigmoid()
    return r.apply(channel, spatial, "gates", strength, residual, residual is not None)


def parallel(r: Reading, weight: Tensor, mix: Tensor, strength: Tensor | None, residual: Tensor | None) -> Tensor:
    channel = _channel(r.pool_positions(("avg",)), weight, r.map.ndim)
    spatial = _spatial(r.pool_channels(("avg", "max")), mix)
    return r.apply(channel, spatial, "product", strength, residual, residual is not None)


def beside_a_layer(r: Reading, weight: Tensor, mix: Tensor, strength: Tensor | None, residual: Tensor | None) -> Tensor:
    """BAM: the spatial branch reads the map by itself."""
    channel = _channel(r.pool_positions(("avg",)), weight, r.map.ndim)
    spatial = (r.map.movedim(1, -1) @ weight).tanh().sum(-1).unsqueeze(1) * mix.sum()
    return r.apply(channel, spatial, "sum", strength, residual, residual is not None)


def larger_of_both(r: Reading, weight: Tensor, mix: Tensor, strength: Tensor | None, residual: Tensor | None) -> Tensor:
    channel = _channel(r.pool_positions(("max",)), weight, r.map.ndim)
    return r.apply(channel, _spatial(r.pool_channels(("avg", "max")), mix), "max", strength, residual)


def only_channels(r: Reading, weight: Tensor, mix: Tensor, strength: Tensor | None, residual: Tensor | None) -> Tensor:
    """SE; and a pool that no kernel has, a second pool along one dimension, a second use of the map."""
    pooled = r.pool_positions(("avg",)) + r.pool_positions(("lse", "max")) * mix.reshape(2, 1, 1)
    return r.apply(_channel(pooled, weight, r.map.ndim).sigmoid(), None, "gates", strength, residual) + r.map


GATES = (channel_first, spatial_first, parallel, beside_a_layer, larger_of_both, only_channels)
gates = pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
Gate = Callable[..., Tensor]


def given(dtype: torch.dtype, form: Any = torch.Tensor.contiguous, size: tuple[int, ...] = (2, 3)) -> list[Tensor]:
    """Map, weight, mix, strength and residual, all of which take a gradient."""
    shape = (2, 4, *size)
    made = (form(torch.randn(shape)), torch.randn(4, 4), torch.randn(2), torch.tensor(0.6), form(torch.randn(shape)))
    return [value.to(dtype).requires_grad_() for value in made]


def fused(gate: Gate) -> Gate:
    return lambda x, *rest: gate(read(x), *rest)


def stock(gate: Gate) -> Gate:
    return lambda x, *rest: gate(Stock(x), *rest)


def test_these_readings_are_fused() -> None:
    """Or all that follows would compare formulas with themselves."""
    x, weight, mix, *_ = given(torch.float64)
    names = set()
    nodes = [channel_first(read(x), weight, mix, None, None).grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None:
            names.add(node.name())
            nodes += [one for one, _ in node.next_functions]
    assert {"ApplyBackward", "PoolBackward", "OpenBackward"} <= names


@forms
@gates
def test_numerical_differentiation(gate: Gate, form) -> None:
    assert gradcheck(fused(gate), given(torch.float64, form), fast_mode=True)


@gates
def test_numerical_differentiation_with_neither_strength_nor_residual(gate: Gate) -> None:
    assert gradcheck(lambda *some: fused(gate)(*some, None, None), given(torch.float64)[:3], fast_mode=True)


@pytest.mark.parametrize("size", [(5,), (2, 1, 3), (1, 1)], ids=str)
def test_other_numbers_of_dimensions(size: tuple[int, ...]) -> None:
    for form in (torch.Tensor.contiguous, last):
        assert gradcheck(fused(channel_first), given(torch.float64, form, size), fast_mode=True)


@forms
@gates
def test_double_backward(gate: Gate, form) -> None:
    """Gradients that are to be differentiated are right themselves, and so are theirs."""
    inputs = given(torch.float64, form)[:3]
    first, second = [], []
    for run in (fused(gate), stock(gate)):
        loss = run(*inputs, None, None).square().sum()
        first.append(torch.autograd.grad(loss, inputs, create_graph=True))
        second.append(torch.autograd.grad(sum(one.square().sum() for one in first[-1]), inputs))
    torch.testing.assert_close(first[0], first[1])
    torch.testing.assert_close(second[0], second[1])


def test_double_backward_from_the_gate_to_the_map() -> None:
    """The gradient of a gate is the map, and that of the map then one: no factor comes in."""
    x = torch.randn(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    row = torch.full((1, 2, 1, 1), 3.0, dtype=torch.float64, requires_grad=True)
    (drow,) = torch.autograd.grad(read(x).apply(row, None, "gates").sum(), row, create_graph=True)
    (dx,) = torch.autograd.grad(drow.sum(), x)
    assert torch.equal(dx, torch.ones_like(x))


@forms
@gates
def test_as_stock_autograd(gate: Gate, form, kernels: None) -> None:
    inputs = given(torch.float32, form, (5, 7))
    found, wanted = fused(gate)(*inputs), stock(gate)(*inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    seed = torch.randn_like(found)
    for got, want in zip(
        torch.autograd.grad(found, inputs, seed), torch.autograd.grad(wanted, inputs, seed), strict=True
    ):
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@gates
def test_half_precision(gate: Gate, kernels: None) -> None:
    exact = given(torch.bfloat16, size=(5, 7))
    inputs = [value.detach().double().requires_grad_() for value in exact]
    found, wanted = fused(gate)(*exact), stock(gate)(*inputs)
    assert found.dtype == torch.bfloat16
    for got, want in zip(
        torch.autograd.grad(found.sum(), exact), torch.autograd.grad(wanted.sum(), inputs), strict=True
    ):
        assert got.dtype == torch.bfloat16
        assert (got - want).norm() <= 0.1 * want.norm() + 0.1


@gates
def test_backward_twice(gate: Gate, kernels: None) -> None:
    inputs = given(torch.float32)
    out = fused(gate)(*inputs).sum()
    once = torch.autograd.grad(out, inputs, retain_graph=True)
    again = torch.autograd.grad(out, inputs)
    assert all(torch.equal(one, other) for one, other in zip(once, again, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(out, inputs)


@gates
def test_each_gradient_alone(gate: Gate, kernels: None) -> None:
    inputs = given(torch.float32)
    together = torch.autograd.grad(fused(gate)(*inputs).sum(), inputs)
    for one, wanted in zip(inputs, together, strict=True):
        alone = [value if value is one else value.detach() for value in inputs]
        for found in (
            torch.autograd.grad(fused(gate)(*inputs).sum(), one)[0],
            torch.autograd.grad(fused(gate)(*alone).sum(), one)[0],
        ):
            torch.testing.assert_close(found, wanted)


@forms
@pytest.mark.parametrize("pools", [("avg",), ("max",), ("max", "avg")], ids="-".join)
def test_only_the_pooled_numbers(pools: tuple[str, ...], form, kernels: None) -> None:
    x, spatial = form(torch.randn(2, 4, 5, 7)), torch.randn(2, 1, 5, 7, requires_grad=True)
    x.requires_grad_()
    for weight in (None, spatial):
        wanted_of = [x] if weight is None else [x, spatial]
        found, wanted = (r.pool_positions(pools, weight) for r in (read(x), Stock(x)))
        torch.testing.assert_close(found, wanted)
        seed = torch.randn_like(found)
        for got, want in zip(
            torch.autograd.grad(found, wanted_of, seed), torch.autograd.grad(wanted, wanted_of, seed), strict=True
        ):
            torch.testing.assert_close(got, want)


def test_one_of_two_pools(kernels: None) -> None:
    """What nobody used of a pooled pair has no gradient, and the other's is right."""
    x = torch.randn(2, 4, 5, 7, requires_grad=True)
    for used, pool in enumerate(("avg", "max")):
        (found,) = torch.autograd.grad(read(x).pool_positions(("avg", "max"))[used].sum(), x)
        (wanted,) = torch.autograd.grad(reference.pool_positions(x, (pool,)).sum(), x)
        torch.testing.assert_close(found, wanted)


def test_pooled_and_applied_apart(kernels: None) -> None:
    """Two results of one reading, differentiated one after the other; the map they share is kept until the last."""
    x, weight = (value.detach().requires_grad_() for value in (torch.randn(2, 4, 5, 7), torch.rand(2, 4, 1, 1)))
    r, same = read(x), Stock(x)
    parts = [(one.pool_channels(("max",), weight).sum(), one.apply(weight, None, "sum").sum()) for one in (r, same)]
    for part in (0, 1):
        for got, want in zip(
            torch.autograd.grad(parts[0][part], (x, weight), retain_graph=True),
            torch.autograd.grad(parts[1][part], (x, weight)),
            strict=True,
        ):
            torch.testing.assert_close(got, want)


def test_relu_and_residual(kernels: None) -> None:
    """Where the ReLU cuts, nothing gets a gradient; the residual gets the rest as it is."""
    x, row = torch.randn(2, 4, 5, 7, requires_grad=True), torch.rand(2, 4, 1, 1, requires_grad=True)
    residual = torch.randn(2, 4, 5, 7, requires_grad=True)
    out = read(x).apply(row, None, "gates", None, residual, relu=True)
    seed = torch.randn_like(out)
    open_ = (x * row + residual > 0).float()
    assert 0 < open_.sum() < open_.numel()
    dx, drow, added = torch.autograd.grad(out, (x, row, residual), seed)
    torch.testing.assert_close(added, seed * open_)
    torch.testing.assert_close(dx, seed * open_ * row.detach())
    torch.testing.assert_close(drow, (seed * open_ * x.detach()).sum((2, 3), keepdim=True))


@forms
@gates
def test_the_gradient_has_the_map_s_layout(gate: Gate, form, kernels: None) -> None:
    """Also when it comes in expanded, from a sum."""
    inputs = given(torch.float32, form, (5, 7))
    out = fused(gate)(*inputs)
    assert out.stride() == inputs[0].stride()
    for got in torch.autograd.grad(out, (inputs[0], inputs[4]), torch.ones(()).expand_as(out), retain_graph=True)[:1]:
        assert got.stride() == inputs[0].stride()
    (got,) = torch.autograd.grad(read(inputs[0]).pool_channels(("avg",)).sum(), inputs[0])
    assert got.stride() == inputs[0].stride()


@gates
def test_a_map_that_needs_no_gradient(gate: Gate, kernels: None) -> None:
    x, *rest = given(torch.float32)
    got = torch.autograd.grad(fused(gate)(x.detach(), *rest).sum(), rest[0])[0]
    torch.testing.assert_close(got, torch.autograd.grad(stock(gate)(x, *rest).sum(), rest[0])[0])
    with torch.no_grad():
        quiet = fused(gate)(x, *rest)
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, stock(gate)(x, *rest).detach())


def test_hosts_may_change_the_output_in_place(kernels: None) -> None:
    x, row = torch.randn(2, 4, 5, 7, requires_grad=True), torch.rand(2, 4, 1, 1, requires_grad=True)
    found = F.relu(read(x).apply(row, None, "gates"), inplace=True)
    for got, want in zip(
        torch.autograd.grad(found.sum(), (x, row)),
        torch.autograd.grad((x * row).relu().sum(), (x, row)),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


def test_checkpointing(kernels: None) -> None:
    inputs = given(torch.float32)
    found = checkpoint(fused(channel_first), *inputs, use_reentrant=False)
    for got, want in zip(
        torch.autograd.grad(found.sum(), inputs),
        torch.autograd.grad(fused(channel_first)(*inputs).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


def _kept(run: Callable[[], Tensor]) -> int:
    """Bytes of the distinct storages that the graph of ``run`` keeps for backward."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = run()
    del out
    return sum(storages.values())


@forms
@pytest.mark.parametrize("relu", [False, True])
def test_bytes_kept(form, relu: bool, kernels: None) -> None:
    """The map once, an index a pooled value, the gate's numbers, the strength; the output only under a ReLU."""
    batch, channels, height, width = 2, 4, 5, 7
    positions = height * width
    x = form(torch.randn(batch, channels, height, width)).requires_grad_()
    channel = torch.rand(batch, channels, 1, 1, requires_grad=True)
    spatial = torch.rand(batch, 1, height, width, requires_grad=True)
    strength = torch.tensor(0.5, requires_grad=True)

    def run() -> Tensor:
        r = read(x)
        pooled = r.pool_positions(("avg", "max")).sum() + r.pool_channels(("avg", "max"), channel).sum()
        return pooled + r.apply(channel, spatial, "gates", strength, relu=relu).sum()

    numbers = batch * (channels + positions)
    maps = batch * channels * positions * (1 + relu)
    assert _kept(run) == 4 * (maps + numbers + numbers + 1)


@pytest.mark.parametrize("backward", [False, True])
@gates
def test_nothing_outlives_the_graph(gate: Gate, backward: bool, kernels: None) -> None:
    """The map is freed with the last reference to it: no cycle waits for the garbage collector."""
    inputs = given(torch.float32)
    gc.collect()
    gc.disable()
    try:
        x = inputs[0] * 1
        watched = StorageWeakRef(x.untyped_storage())
        out = fused(gate)(x, *inputs[1:])
        if backward:
            out.sum().backward()
        assert not watched.expired()
        del x, out
        assert watched.expired()
    finally:
        gc.enable()
