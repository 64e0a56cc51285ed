"""What a gate is before training, how many numbers it holds, and what it does with a batch of one."""

import pytest
import torch

import whatwhere as ww
from whatwhere.errors import GateError


def _count(gate: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in gate.parameters())


def test_released_cbam_starts_with_a_spatial_map_of_one_half() -> None:
    for train in (True, False):
        gate = ww.CBAM(64, preset="released").train(train)
        maps = gate.maps(torch.randn(4, 64, 9, 6))
        assert (maps.spatial == 0.5).all()
        assert gate.spatial.norm_layer.weight.item() == 0
        # the channel gate's MLP has zero biases: near one half, so that the factor is near one quarter
        assert abs(maps.factor.mean().item() - 0.25) < 0.05


def test_paper_cbam_on_an_empty_map_multiplies_by_one_quarter() -> None:
    maps = ww.CBAM(64).eval().maps(torch.zeros(2, 64, 5, 5))
    assert (maps.factor == 0.25).all()


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_bam_with_silent_branches_multiplies_by_three_halves(preset: str) -> None:
    gate = ww.BAM(64, preset=preset).eval()
    with torch.no_grad():
        gate.channel.expand.weight.zero_()
        gate.spatial.last.weight.zero_()
    x = torch.randn(2, 64, 7, 5)
    assert torch.equal(gate(x), x * 1.5)


def test_norms_start_at_one_and_biases_at_zero() -> None:
    gate = ww.BAM(64)
    for module in gate.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert module.momentum == 0.1
            assert module.eps == 1e-5
        if getattr(module, "bias", None) is not None:
            assert (module.bias == 0).all()
    assert ww.CBAM(64, preset="released").spatial.norm_layer.momentum == 0.01


def test_convolutions_start_kaiming_normal_by_fan_out() -> None:
    """So the last 1x1 convolution, to one map, starts with a deviation of sqrt(2), as in the released networks."""
    gate = ww.BAM(16 * 400, reduction=16, dilated_convs=1)
    assert gate.spatial.last.weight.std().item() == pytest.approx(2**0.5, rel=0.1)
    assert gate.spatial.inner[0].weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert gate.spatial.inner[3].weight.std().item() == pytest.approx((2 / (9 * 400)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("channels", "reduction"), [(64, 16), (70, 16), (5, 16), (48, 8)])
def test_parameter_counts(channels: int, reduction: int) -> None:
    hidden = max(channels // reduction, 1)
    mlp = 2 * channels * hidden
    biases = channels + hidden
    spatial = channels * hidden + hidden + 2 * (9 * hidden * hidden + hidden) + hidden + 1
    inner = 2 * hidden + 3 * 2 * hidden
    assert _count(ww.BAM(channels, reduction=reduction)) == mlp + biases + spatial + inner + 2 * channels + 2
    assert _count(ww.BAM(channels, reduction=reduction, preset="released")) == mlp + biases + spatial + inner
    assert (
        _count(ww.BAM(channels, reduction=reduction, final_norm="channels"))
        == mlp + biases + spatial + inner + 4 * channels
    )
    assert _count(ww.BAM(channels, reduction=reduction, norm="none")) == mlp + biases + spatial
    assert (
        _count(ww.BAM(channels, reduction=reduction, branches="channel", mlp_bias=False))
        == mlp + 2 * hidden + 2 * channels
    )
    assert _count(ww.CBAM(channels, reduction=reduction)) == mlp + 99
    assert _count(ww.CBAM(channels, reduction=reduction, preset="released")) == mlp + biases + 98 + 2
    assert _count(ww.CBAM(channels, reduction=reduction, descriptor="conv")) == mlp + channels + 1 + 50
    assert _count(ww.SE(channels, reduction=reduction)) == mlp + biases
    assert _count(ww.ChannelGate(channels, reduction=reduction, mlp_bias=False)) == mlp
    assert _count(ww.SpatialGate(channels, kernel_size=3)) == 19
    assert _count(ww.SE(channels, start="identity")) == _count(ww.SE(channels)) + 1


RESNET50_STAGES = {"cifar": (256, 512, 1024), "blocks": (256,) * 3 + (512,) * 4 + (1024,) * 6 + (2048,) * 3}


def test_parameter_counts_of_the_papers() -> None:
    """ResNet50 grows as the papers print it: 23.71M to 24.07M with BAM, 25.557M to 28.09M with CBAM."""
    bam = sum(_count(ww.BAM(c, final_norm="channels")) for c in RESNET50_STAGES["cifar"])
    assert round((23_705_252 + bam) / 1e6, 2) == 24.07
    cbam = sum(_count(ww.CBAM(c, preset="released")) for c in RESNET50_STAGES["blocks"])
    assert 25_557_032 + cbam == 28_089_624
    conv = sum(_count(ww.CBAM(c, mlp_bias=True, descriptor="conv")) for c in RESNET50_STAGES["blocks"])
    assert round((25_557_032 + conv) / 1e6, 2) == 28.10


@pytest.mark.parametrize(
    ("gate", "size"),
    [
        (ww.BAM(64), (1, 64, 8, 5)),
        (ww.BAM(64, preset="released"), (1, 64, 1, 1)),
        (ww.BAM(64, branches="channel"), (1, 64, 3, 3)),
    ],
    ids=["paper", "released", "channel"],
)
def test_bam_in_training_refuses_a_batch_of_one(gate: ww.BAM, size: tuple[int, ...]) -> None:
    with pytest.raises(GateError) as found:
        gate.train()(torch.zeros(size))
    assert str(found.value) == (
        "BAM(64): in training, batch norm needs more than one value per channel\n"
        f"  got: shape {size}\n"
        "  fix: norm='group' works for a batch of one; or use a larger batch, or gate.eval()"
    )
    gate.eval()(torch.zeros(size))


def test_a_batch_of_one_is_refused_only_where_it_must_be() -> None:
    x = torch.randn(1, 64, 6, 5)
    for gate in (
        ww.BAM(64, norm="group"),
        ww.BAM(64, norm="none"),
        ww.BAM(64, branches="spatial"),
        ww.CBAM(64),
        ww.CBAM(64, preset="released"),
        ww.SE(64),
    ):
        assert gate.train()(x).shape == x.shape
    frozen = ww.BAM(64).train()
    for module in frozen.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.eval()
    assert frozen(x).shape == x.shape
    with pytest.raises(GateError, match=r"^CBAM\(64\): in training, batch norm needs more than one value per channel"):
        ww.CBAM(64, preset="released").train()(x[..., :1, :1])


def test_a_refused_batch_changes_no_statistics() -> None:
    gate = ww.BAM(64).train()
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    with pytest.raises(GateError):
        gate(torch.randn(1, 64, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in gate.state_dict().items())


@pytest.mark.parametrize("gate", [ww.BAM(8, norm="none"), ww.CBAM(8), ww.SE(8)], ids=["bam", "cbam", "se"])
def test_an_empty_batch_stays_empty(gate: ww.Gate) -> None:
    assert gate.eval()(torch.zeros(0, 8, 4, 5)).shape == (0, 8, 4, 5)


@pytest.mark.parametrize("gate", [ww.BAM(16), ww.CBAM(16), ww.SE(16)], ids=["bam", "cbam", "se"])
def test_autocast_keeps_the_input_dtype(gate: ww.Gate) -> None:
    x = torch.randn(2, 16, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out = gate.eval()(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, gate(x), atol=5e-2, rtol=5e-2)


@pytest.mark.parametrize("kind", [ww.BAM, ww.CBAM, ww.SE], ids=["bam", "cbam", "se"])
def test_autocast_leaves_the_identity_alone(kind: type[ww.Gate]) -> None:
    gate, x = kind(16, start="identity"), torch.randn(2, 16, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gate(x), x)
