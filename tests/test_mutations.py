"""The tests can fail: each formula is broken on purpose, and the check that guards it must go red."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from gates.parity import check_bam, check_cbam, check_channel, check_se, check_spatial
from ops import test_pooling
from support.contract import identity, memory_format, positions_matter
from torch import Tensor, nn
from torch.nn import functional as F

import whatwhere as ww
from whatwhere.ops import dispatch, reference

Check = Callable[..., None]
POOLS = reference.pool_positions


@pytest.fixture(autouse=True)
def _formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the formulas that are broken here; kernels have mutations of their own."""
    monkeypatch.setattr(dispatch, "choose", lambda x: None)


def _each_pool(change: Callable[[Tensor, str], Tensor | None]) -> Callable[..., Tensor]:
    """``pool_positions`` with the pools that ``change`` answers for replaced."""

    def pool(x: Tensor, pools: tuple[str, ...], spatial: Tensor | None = None) -> Tensor:
        found = [change(x, name) for name in pools]
        return torch.stack(
            [POOLS(x, (name,))[0] if row is None else row for row, name in zip(found, pools, strict=True)]
        )

    return pool


def _shifted(conv: nn.Module) -> None:
    """Padding off by one: one more zero in front, one less behind."""
    padding = conv.padding[-1]
    conv.padding = (0,) * len(conv.padding)
    conv.register_forward_pre_hook(lambda _, inputs: F.pad(inputs[0], [padding + 1, padding - 1, padding, padding]))


@torch.no_grad()
def _zeroed(parameter: nn.Parameter) -> None:
    parameter.zero_()


FORMULAS: dict[str, tuple[Check, dict[str, Any], Callable[..., Tensor]]] = {
    "max-for-mean": (check_se, {}, lambda x, pools, *_: POOLS(x, ("max",))),
    "mean-for-max": (
        check_channel,
        {},
        _each_pool(lambda x, name: x.flatten(2).mean(2) if name == "max" else None),
    ),
    "left-square-only": (
        check_bam,
        {},
        _each_pool(lambda x, name: x[..., : x.shape[2]].mean((2, 3)) if name == "avg" else None),
    ),
    "lp-of-a-mean": (check_channel, {"pools": "lp"}, _each_pool(lambda x, name: x.square().mean((2, 3)).sqrt())),
    "lse-of-a-mean": (check_channel, {"pools": "lse"}, _each_pool(lambda x, name: x.exp().mean((2, 3)).log())),
    "mean-without-one": (check_se, {}, _each_pool(lambda x, name: x.flatten(2).sum(2) / (x[0, 0].numel() - 1))),
}


@pytest.mark.parametrize(("check", "options", "broken"), FORMULAS.values(), ids=FORMULAS)
def test_broken_pools_are_caught(check: Check, options: dict[str, Any], broken: Any, monkeypatch: Any) -> None:
    check(**options)
    monkeypatch.setattr(reference, "pool_positions", broken)
    with pytest.raises(AssertionError):
        check(**options)


COMBINED: dict[str, tuple[str, Callable[..., Tensor]]] = {
    "product-for-sum": ("sum", lambda channel, spatial, how: channel * spatial),
    "sum-for-product": ("product", lambda channel, spatial, how: channel + spatial),
    "min-for-max": ("max", lambda channel, spatial, how: torch.minimum(channel, spatial)),
    "difference": ("sum", lambda channel, spatial, how: channel - spatial),
}


@pytest.mark.parametrize(("combine", "broken"), COMBINED.values(), ids=COMBINED)
def test_broken_joins_are_caught(combine: str, broken: Any, monkeypatch: Any) -> None:
    check_bam(combine=combine)
    monkeypatch.setattr(reference, "combine_logits", broken)
    with pytest.raises(AssertionError):
        check_bam(combine=combine)


@pytest.mark.parametrize("check", [check_bam, check_cbam, check_channel, check_se, check_spatial])
def test_a_dropped_sigmoid_is_caught(check: Check, monkeypatch: Any) -> None:
    monkeypatch.setattr(Tensor, "sigmoid", lambda x: x)
    with pytest.raises(AssertionError):
        check()


def test_a_dropped_residual_is_caught(monkeypatch: Any) -> None:
    factor = reference.factor
    monkeypatch.setattr(reference, "factor", lambda *factors: factor(*factors) - 1)
    with pytest.raises(AssertionError, match="output"):
        check_bam()


def test_an_added_residual_is_caught(monkeypatch: Any) -> None:
    monkeypatch.setattr(reference, "apply_factor", lambda x, factor, strength: x + x * factor)
    with pytest.raises(AssertionError, match="output"):
        check_cbam()


SPOILT: dict[str, tuple[Check, dict[str, Any], Callable[[nn.Module], object]]] = {
    "padding-off-by-one": (check_spatial, {}, lambda gate: _shifted(gate.conv)),
    "padding-off-by-one-dilated": (check_bam, {}, lambda gate: _shifted(gate.spatial.inner[3])),
    "edge-padding": (check_spatial, {"kernel_size": 3}, lambda gate: _edge(gate.conv)),
    "dilation-forgotten": (check_bam, {"dilation": 2}, lambda gate: _undilated(gate.spatial.inner[3])),
    "convolution-flipped": (check_spatial, {}, lambda gate: _flipped(gate.conv)),
    "concat-swapped": (check_spatial, {}, lambda gate: setattr(gate, "pools", gate.pools[::-1])),
    "concat-swapped-released": (
        check_cbam,
        {"preset": "released"},
        lambda gate: setattr(gate.spatial, "pools", gate.spatial.pools[::-1]),
    ),
    "mlp-bias-dropped": (check_se, {}, lambda gate: _zeroed(gate.branch.expand.bias)),
    "hidden-bias-dropped": (check_channel, {}, lambda gate: _zeroed(gate.branch.reduce.bias)),
    "spatial-bias-dropped": (check_spatial, {}, lambda gate: _zeroed(gate.conv.bias)),
    "last-bias-dropped": (check_bam, {"preset": "released"}, lambda gate: _zeroed(gate.spatial.last.bias)),
    "relu-dropped": (check_bam, {}, lambda gate: setattr(gate.channel, "relu", nn.Identity())),
    "spatial-relu-dropped": (check_bam, {}, lambda gate: gate.spatial.inner.__setitem__(2, nn.Identity())),
    "final-norm-dropped": (check_bam, {}, lambda gate: setattr(gate.channel, "final_norm", nn.Identity())),
    "another-epsilon": (check_bam, {"train": True}, lambda gate: setattr(gate.channel.inner_norm, "eps", 1e-3)),
    "running-statistics-in-training": (check_bam, {"train": True}, lambda gate: gate.channel.inner_norm.eval()),
    "batch-statistics-in-eval": (check_bam, {}, lambda gate: gate.spatial.inner[1].train()),
    "order-swapped": (check_cbam, {}, lambda gate: setattr(gate, "order", "spatial_first")),
    "spatial-reads-the-input": (check_cbam, {}, lambda gate: setattr(gate, "order", "parallel")),
    "channel-left-out": (check_cbam, {}, lambda gate: setattr(gate, "channel", None)),
    "a-pool-left-out": (
        check_channel,
        {},
        lambda gate: (setattr(gate, "pools", ("avg",)), setattr(gate.branch, "pools", 1)),
    ),
}


@torch.no_grad()
def _flipped(conv: nn.Module) -> None:
    conv.weight.copy_(conv.weight.flip(2, 3))


def _undilated(conv: nn.Module) -> None:
    conv.dilation, conv.padding = (1, 1), (1, 1)


def _edge(conv: nn.Module) -> None:
    conv.padding = (0, 0)
    conv.register_forward_pre_hook(lambda _, inputs: F.pad(inputs[0], [1, 1, 1, 1], mode="replicate"))


@pytest.mark.parametrize(("check", "options", "spoil"), SPOILT.values(), ids=SPOILT)
def test_broken_gates_are_caught(check: Check, options: dict[str, Any], spoil: Callable[[nn.Module], object]) -> None:
    check(**options)
    with pytest.raises(AssertionError):
        check(spoil=spoil, **options)


def test_ties_to_the_last_are_caught(monkeypatch: Any) -> None:
    monkeypatch.setattr(test_pooling, "pool_positions", lambda x, pools: x.flatten(2).flip(2).max(2).values)
    monkeypatch.setattr(test_pooling, "pool_channels", lambda x, pools: x.flip(1).max(1).values)
    for check in (
        test_pooling.test_the_first_of_equal_positions_takes_the_gradient,
        test_pooling.test_the_first_of_equal_channels_takes_the_gradient,
    ):
        with pytest.raises(AssertionError):
            check(Tensor.contiguous)


def test_ties_shared_by_all_are_caught(monkeypatch: Any) -> None:
    monkeypatch.setattr(test_pooling, "pool_positions", lambda x, pools: x.amax((2, 3)))
    with pytest.raises(AssertionError):
        test_pooling.test_the_first_of_equal_positions_takes_the_gradient(Tensor.contiguous)


def test_sums_in_half_precision_are_caught(monkeypatch: Any) -> None:
    def half(x: Tensor, pools: tuple[str, ...]) -> Tensor:
        return torch.stack([x.flatten(2).sum(2) / x[0, 0].numel(), x.square().flatten(2).sum(2).sqrt()])[: len(pools)]

    monkeypatch.setattr(test_pooling, "pool_positions", half)
    with pytest.raises(AssertionError):
        test_pooling.test_long_sums_over_positions_neither_overflow_nor_stall(torch.float16)


HARMLESS: dict[str, Callable[..., Tensor]] = {
    "strength-on-the-whole-factor": lambda x, factor, strength: x * (1 if strength is None else strength) * factor,
    "strength-added": lambda x, factor, strength: x * factor if strength is None else x + x * strength * factor + 0.0,
}


@pytest.mark.parametrize("broken", HARMLESS.values(), ids=HARMLESS)
def test_a_start_that_is_not_harmless_is_caught(broken: Any, monkeypatch: Any) -> None:
    make = partial(ww.CBAM, reduction=2)
    identity(make, 12)
    monkeypatch.setattr(reference, "apply_factor", broken)
    with pytest.raises(AssertionError):
        identity(make, 12)


def test_a_lost_memory_format_is_caught(monkeypatch: Any) -> None:
    monkeypatch.setattr(reference, "apply_factor", lambda x, factor, strength: (x * factor).contiguous())
    with pytest.raises(AssertionError):
        memory_format(ww.SE, 12)


def test_a_forgotten_border_is_caught(monkeypatch: Any) -> None:
    monkeypatch.setattr(reference, "pool_positions", lambda x, pools, *_: POOLS(x[..., 1:-1, 1:-1], pools))
    with pytest.raises(AssertionError, match="does not reach the channel map"):
        positions_matter(partial(ww.SE, reduction=2), 12)
