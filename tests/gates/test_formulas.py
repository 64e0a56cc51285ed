"""Every gate and every option computes its equation."""

from typing import Any

import numpy as np
import pytest
import torch
from gates.parity import check_bam, check_cbam, check_channel, check_se, check_spatial
from support import oracles
from support.contract import images, randomise_

import whatwhere as ww

BAM_OPTIONS: dict[str, dict[str, Any]] = {
    "paper": {},
    "released": {"preset": "released"},
    "product": {"combine": "product"},
    "max": {"combine": "max"},
    "channel-only": {"branches": "channel"},
    "spatial-only": {"branches": "spatial"},
    "pool-max": {"pools": "max"},
    "pool-both": {"pools": "both"},
    "pool-lp": {"pools": "lp"},
    "pool-lse": {"pools": "lse"},
    "all-pools": {"pools": ("lse", "avg", "lp", "max")},
    "group": {"norm": "group"},
    "no-norm": {"norm": "none"},
    "as-printed": {"inner_norm": False, "inner_relu": False},
    "no-inner-norm": {"inner_norm": False},
    "no-inner-relu": {"inner_relu": False},
    "norm-on-channels": {"final_norm": "channels"},
    "norm-on-channels-group": {"final_norm": "channels", "norm": "group"},
    "no-final-norm": {"final_norm": "none"},
    "no-mlp-bias": {"mlp_bias": False},
    "reduction-4": {"reduction": 4},
    "reduction-99": {"reduction": 99},
    "dilation-1": {"dilation": 1},
    "dilation-2": {"dilation": 2},
    "one-conv": {"dilated_convs": 1},
    "three-convs": {"dilated_convs": 3},
    "no-convs": {"dilated_convs": 0},
}

CBAM_OPTIONS: dict[str, dict[str, Any]] = {
    "paper": {},
    "released": {"preset": "released"},
    "mlp-bias": {"mlp_bias": True},
    "channel-only": {"branches": "channel"},
    "spatial-only": {"branches": "spatial"},
    "spatial-first": {"order": "spatial_first"},
    "parallel": {"order": "parallel"},
    "released-spatial-first": {"preset": "released", "order": "spatial_first"},
    "avg": {"pools": "avg"},
    "max": {"pools": "max"},
    "lp-lse": {"pools": ("lp", "lse")},
    "conv-descriptor": {"descriptor": "conv"},
    "kernel-1": {"kernel_size": 1},
    "kernel-3": {"kernel_size": 3},
    "batch": {"norm": "batch"},
    "group": {"norm": "group"},
    "reduction-4": {"reduction": 4},
}

SPATIAL_OPTIONS: dict[str, dict[str, Any]] = {
    "paper": {},
    "released": {"preset": "released"},
    "kernel-3": {"kernel_size": 3},
    "conv-descriptor": {"descriptor": "conv"},
    "conv-descriptor-batch": {"descriptor": "conv", "norm": "batch"},
    "group": {"norm": "group"},
}

modes = pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
every_rank = pytest.mark.parametrize("spatial_dims", [1, 2, 3], ids=["1d", "2d", "3d"])
every_size = pytest.mark.parametrize("size", ["oblong", "tall", "odd", "one"])


@modes
@pytest.mark.parametrize("options", BAM_OPTIONS.values(), ids=BAM_OPTIONS)
def test_bam(options: dict[str, Any], train: bool) -> None:
    check_bam(train=train, **options)


@modes
@pytest.mark.parametrize("options", CBAM_OPTIONS.values(), ids=CBAM_OPTIONS)
def test_cbam(options: dict[str, Any], train: bool) -> None:
    check_cbam(train=train, **options)


@modes
@pytest.mark.parametrize("options", SPATIAL_OPTIONS.values(), ids=SPATIAL_OPTIONS)
def test_spatial_gate(options: dict[str, Any], train: bool) -> None:
    check_spatial(train=train, **options)


@pytest.mark.parametrize("pools", ["avg", "max", "both", "lp", "lse", ("max", "lse", "lp")], ids=str)
@pytest.mark.parametrize("mlp_bias", [False, True], ids=["no-bias", "bias"])
def test_channel_gate(pools: Any, mlp_bias: bool) -> None:
    check_channel(pools=pools, mlp_bias=mlp_bias)


@pytest.mark.parametrize("mlp_bias", [False, True], ids=["no-bias", "bias"])
def test_se(mlp_bias: bool) -> None:
    check_se(mlp_bias=mlp_bias)


@every_size
@every_rank
def test_every_rank_and_size(spatial_dims: int, size: str) -> None:
    check_bam(spatial_dims=spatial_dims, size=size)
    check_bam(spatial_dims=spatial_dims, size=size, train=True, preset="released")
    check_cbam(spatial_dims=spatial_dims, size=size)
    check_cbam(spatial_dims=spatial_dims, size=size, train=True, preset="released")
    check_channel(spatial_dims=spatial_dims, size=size)
    check_se(spatial_dims=spatial_dims, size=size)
    check_spatial(spatial_dims=spatial_dims, size=size)


@pytest.mark.parametrize(
    ("gate", "momentum"),
    [
        (ww.SpatialGate(6, preset="released"), 0.01),
        (ww.SpatialGate(6, norm="batch"), 0.1),
    ],
    ids=["released", "paper"],
)
def test_running_statistics_of_the_spatial_gate(gate: ww.SpatialGate, momentum: float) -> None:
    randomise_(gate).double().train()
    x = images(gate, 3, dtype=torch.float64)
    described = oracles.pool_channels(x.numpy(), gate.pools)
    before = {"mean": gate.norm_layer.running_mean.numpy().copy(), "var": gate.norm_layer.running_var.numpy().copy()}
    bias = None if gate.conv.bias is None else gate.conv.bias.detach().numpy()
    mean, var = oracles.running_after(
        oracles.conv(described, gate.conv.weight.detach().numpy(), bias), before, momentum
    )
    gate(x)
    np.testing.assert_allclose(gate.norm_layer.running_mean, mean)
    np.testing.assert_allclose(gate.norm_layer.running_var, var)


def test_running_statistics_of_the_channel_branch() -> None:
    gate = randomise_(ww.BAM(6, reduction=2, dtype=torch.float64)).train()
    x = images(gate, 3, dtype=torch.float64)
    norm = gate.channel.inner_norm
    before = {"mean": norm.running_mean.numpy().copy(), "var": norm.running_var.numpy().copy()}
    reduce = gate.channel.reduce
    hidden = x.numpy().mean((2, 3)) @ reduce.weight.detach().numpy().T + reduce.bias.detach().numpy()
    mean, var = oracles.running_after(hidden, before)
    gate(x)
    np.testing.assert_allclose(norm.running_mean, mean)
    np.testing.assert_allclose(norm.running_var, var)
    assert norm.num_batches_tracked == 1


def test_average_covers_a_map_that_is_not_square() -> None:
    """The released code averages over the left square only."""
    gate = randomise_(ww.BAM(16, branches="channel", reduction=4)).eval()
    x = images(gate, 1, "oblong")
    left = torch.cat([x[..., :5], x[..., :5].roll(2, -1)[..., :3] + 1], dim=-1)
    assert not torch.allclose(gate.maps(x).channel, gate.maps(left).channel)
    torch.testing.assert_close(gate.maps(x).channel, gate.maps(x.transpose(2, 3)).channel)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_small_maps_see_only_the_middle_tap(size: int) -> None:
    """With dilation 4 the outer taps of maps up to 4 wide meet nothing but padding."""
    gate = randomise_(ww.BAM(16, reduction=4, branches="spatial")).eval()
    x = torch.randn(2, 16, size, size)
    before = gate.maps(x).spatial
    with torch.no_grad():
        for conv in (module for module in gate.spatial.inner if isinstance(module, torch.nn.Conv2d)):
            if conv.weight.shape[-1] == 3:
                middle = torch.zeros(3, 3)
                middle[1, 1] = 1
                conv.weight.mul_(middle)
    torch.testing.assert_close(gate.maps(x).spatial, before)


@pytest.mark.parametrize(
    "kind", [ww.SE, ww.ChannelGate, lambda c: ww.BAM(c, branches="channel")], ids=["se", "channel", "bam"]
)
def test_channel_maps_do_not_see_where(kind: Any) -> None:
    gate = randomise_(kind(16)).eval()
    x = images(gate)
    shuffled = x.flatten(2)[..., torch.randperm(40)].reshape(x.shape)
    torch.testing.assert_close(gate.maps(shuffled).channel, gate.maps(x).channel)


def test_the_pooled_spatial_map_does_not_see_which_channel() -> None:
    gate = randomise_(ww.SpatialGate(16)).eval()
    x = images(gate)
    torch.testing.assert_close(gate.maps(x[:, torch.randperm(16)]).spatial, gate.maps(x).spatial)


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_order_of_mirrored_maps_is_kept(preset: str) -> None:
    """A mirrored kernel on a mirrored map gives the mirrored answer."""
    gate = randomise_(ww.SpatialGate(8, preset=preset)).eval()
    x = images(gate)
    wanted = gate.maps(x).spatial.flip(3)
    with torch.no_grad():
        gate.conv.weight.copy_(gate.conv.weight.flip(3))
    torch.testing.assert_close(gate.maps(x.flip(3)).spatial, wanted)
