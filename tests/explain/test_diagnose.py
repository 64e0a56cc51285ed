"""What gates do over many images: figures worked out by hand, advice in words, and no trace left."""

import json
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from support.cases import host
from torch import nn

import whatwhere as ww
from whatwhere import hosts
from whatwhere.errors import AttachError
from whatwhere.explain import Diagnosis, diagnose
from whatwhere.explain.advice import advice
from whatwhere.gates import Gate
from whatwhere.gates.gate import Factors


class Known(Gate):
    """Its factor is written down beforehand."""

    presets: ClassVar = {"paper": {"spatial_dims": 2}}

    def __init__(self, channels: int, factor: list) -> None:
        super().__init__(channels, "paper", {"spatial_dims": 2})
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("factor", torch.tensor(factor)[..., None, None])

    def _factors(self, reading):
        batch = len(reading.map)
        return Factors(self.factor.repeat(batch, 1, 1, 1)[:batch], None, "gates")


def diagnosed(model: nn.Module, images: torch.Tensor) -> list[dict]:
    """As JSON has it."""
    return [one.to_json() for one in diagnose(model, [images])]


def one_site(gate) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    ww.attach_(model, gate, at=["0"], input_size=(3, 4, 6))
    return model


def resnet(gate: str, **options) -> nn.Module:
    model = hosts.build("resnet8")
    ww.attach_(model, gate, input_size=(3, 32, 32), **options)
    return model


def test_figures_are_those_of_the_factor():
    factor = [[0.2, 0.4], [0.6, 0.8]]
    (entry,) = diagnosed(one_site(lambda channels: Known(channels, factor)), torch.randn(2, 3, 4, 6))
    assert (entry["site"], entry["channels"], entry["size"], entry["strength"]) == ("0", 2, [4, 6], None)
    assert entry["gate"] == "Known(2)"
    assert entry["mean"] == pytest.approx(0.5)
    assert entry["sd"] == pytest.approx(0.05**0.5)
    assert (entry["low"], entry["high"]) == pytest.approx((0.2, 0.8))
    assert entry["sd_images"] == pytest.approx(0.2)  # 0.2 and 0.6, 0.4 and 0.8
    assert entry["sd_within"] == pytest.approx(0.1)  # 0.2 and 0.4, 0.6 and 0.8
    assert entry["saturated_low"] is None  # nobody said what range this gate has


@pytest.mark.parametrize(("gate", "low", "high"), [("bam", 1, 2), ("cbam", 0, 1), ("se", 0, 1)])
def test_every_site_is_described_and_json_can_say_it(gate, low, high):
    model = resnet(gate)
    found = diagnosed(model, torch.randn(4, 3, 32, 32))
    assert [(entry["site"], entry["gate"]) for entry in found] == [
        (carried.name, carried.gate) for carried in ww.status(model).gates
    ]
    for entry in json.loads(json.dumps(found, allow_nan=False)):
        assert low <= entry["low"] <= entry["mean"] <= entry["high"] <= high
        assert 0 <= entry["saturated_low"] + entry["saturated_high"] <= 1
        assert entry["sd_images"] >= 0  # an SE of one hidden unit may be shut
        assert entry["gain"] > 0


@pytest.mark.parametrize(("bias", "low", "high"), [(30.0, 0, 1), (-30.0, 1, 0), (0.0, 0, 0)])
def test_saturation(bias, low, high):
    model = resnet("se")
    for gated in ww.status(model).gates:
        expand = model.get_submodule(gated.name).gate.branch.expand
        nn.init.zeros_(expand.weight)
        nn.init.constant_(expand.bias, bias)
    for entry in diagnosed(model, torch.randn(2, 3, 32, 32)):
        assert (entry["saturated_low"], entry["saturated_high"]) == (low, high)
        assert entry["sd_images"] == 0
        assert entry["gain"] == pytest.approx(1 / (1 + torch.tensor(-bias).exp().item()), rel=1e-4)


def test_an_identity_start_has_a_strength_and_no_effect():
    for entry in diagnosed(resnet("bam", start="identity"), torch.randn(2, 3, 32, 32)):
        assert (entry["strength"], entry["gain"]) == (0, 1)
        assert entry["mean"] > 1


def test_another_librarys_module_has_a_gain_alone():
    (entry,) = diagnosed(one_site(lambda channels: nn.Softshrink(1e9)), torch.randn(2, 3, 4, 6))
    assert entry["gain"] == 0
    known = ["site", "gate", "channels", "size", "images", "probed", "flipped", "moved", "gain", "advice"]
    assert (entry["images"], entry["probed"]) == (2, 2)
    assert [key for key, value in entry.items() if value is not None] == known


def test_a_gate_that_did_not_run_has_its_name_alone():
    model = resnet("se")
    with ww.disabled(model):
        found = diagnosed(model, torch.randn(2, 3, 32, 32))
    assert len(found) == 3
    for entry in found:
        assert [key for key, value in entry.items() if value is not None] == [
            "site",
            "gate",
            "images",
            "probed",
            "advice",
        ]
        assert (entry["images"], entry["probed"], entry["advice"]) == (0, 0, [])


def test_one_image_says_nothing_about_the_spread_over_images():
    assert all(entry["sd_images"] is None for entry in diagnosed(resnet("se"), torch.randn(1, 3, 32, 32)))


def test_what_is_not_finite_is_none():
    found = diagnosed(resnet("se"), torch.full((2, 3, 32, 32), torch.nan))
    assert all(entry["mean"] is None and entry["gain"] is None for entry in found)


def test_a_bare_network_is_refused():
    with pytest.raises(AttachError, match="the network carries no gates"):
        diagnosed(host("plain").train(), torch.randn(1, 3, 32, 32))


def test_an_output_that_is_not_logits_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 16, 1), ww.SE(16))
    with pytest.raises(AttachError) as error:
        diagnosed(model, torch.randn(2, 3, 4, 4))
    assert str(error.value) == (
        "diagnose(model, batches): the network must give logits (B, K)\n  got: an output of shape (2, 16, 4, 4)"
    )


def test_a_gate_switched_off_moves_what_it_decides():
    """One gate decides the answer, the other multiplies by one."""
    model = nn.Sequential(nn.Identity(), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model[0] = Known(2, [[0.1, 0.9]])
    model[1] = Known(2, [[1.0, 1.0]])
    images = torch.tensor([[2.0, 1.0], [1.0, 2.0], [40.0, 1.0]])[..., None, None].expand(3, 2, 4, 4).contiguous()
    first, second = diagnose(model, [images])
    with_it = (images.mean((2, 3)) * torch.tensor([0.1, 0.9])).softmax(1)
    without = images.mean((2, 3)).softmax(1)
    assert first.flipped == pytest.approx(1 / 3)  # the first image alone
    assert first.moved == pytest.approx(float((with_it - without).abs().sum(1).mean() / 2), abs=1e-6)
    assert (second.flipped, second.moved, second.gain) == (0, 0, 1)
    sizes = [float((x * x).sum()) for x in (images * torch.tensor([0.1, 0.9])[:, None, None], images)]
    assert first.gain == pytest.approx((sizes[0] / sizes[1]) ** 0.5)


def test_only_so_many_images_are_looked_at_without_a_gate():
    model, calls = resnet("bam").eval(), []
    model.fc.register_forward_hook(lambda *_: calls.append(1))
    batches = [torch.randn(2, 3, 32, 32) for _ in range(4)]
    found = diagnose(model, batches, probe=3)
    assert [one.images for one in found] == [8, 8]
    assert len(calls) == 4 + 2 * (1 + 2)  # every batch; two of them again, whole and without each of two gates
    calls.clear()
    assert diagnose(model, batches, probe=0)[0].moved is None
    assert len(calls) == 4


class Block(nn.Module):
    """A gate that ends a residual block, called in one of the ways there are."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.gate, self.out, self.way = ww.SE(8), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), way

    def forward(self, x):
        if self.way == "by place":
            return self.out(self.gate(x, x + 1, True))
        if self.way == "by name":
            return self.out(self.gate(x, residual=x + 1, relu=True))
        return self.out(self.gate(x, x + 1, relu=True))


@pytest.mark.parametrize("way", ["by place", "by name", "by both"])
def test_a_gate_that_ends_a_residual_block_is_switched_off_alone(way):
    model, x = Block(way).eval(), torch.randn(2, 8, 3, 3)
    (found,) = diagnose(model, x)
    with torch.no_grad():
        wanted = (model(x).softmax(1) - (2 * x + 1).relu().mean((2, 3)).softmax(1)).abs().sum(1).mean() / 2
    assert found.moved == pytest.approx(float(wanted), abs=1e-6)
    assert found.gain is None


@pytest.mark.parametrize("compiled", ["whole", "in place", "a part"])
def test_a_compiled_network_is_diagnosed_as_it_is(compiled):
    model, images = resnet("bam").eval(), torch.randn(4, 3, 32, 32)
    wanted = diagnose(model, images)
    torch._dynamo.reset()
    if compiled == "in place":
        model.compile(backend="eager")
    elif compiled == "a part":
        model.layer2 = torch.compile(model.layer2, backend="eager")
    found = diagnose(torch.compile(model, backend="eager") if compiled == "whole" else model, [images[:2], images[2:]])
    for one, other in zip(found, wanted, strict=True):
        assert (one.images, one.site, one.probed) == (4, other.site, 4)
        assert one.sd_images == pytest.approx(other.sd_images, abs=1e-6)
        assert one.moved == pytest.approx(other.moved, abs=1e-5)
        assert one.gain == pytest.approx(other.gain, rel=1e-5)


def test_a_batch_of_nothing_says_nothing():
    for gate in ("bam", "cbam", "se"):
        found = diagnose(resnet(gate).eval(), [torch.zeros(0, 3, 32, 32), torch.randn(2, 3, 32, 32)])
        assert all((one.images, one.probed) == (2, 2) for one in found)


def test_labels_of_another_number_are_refused():
    with pytest.raises(AttachError) as error:
        diagnose(resnet("bam"), [(torch.randn(2, 3, 32, 32), torch.zeros(3, dtype=torch.int64))])
    assert str(error.value) == (
        "diagnose(model, batches): each image has one label\n  got: 2 images and labels of shape (3,)"
    )


FIGURES = {"mean": 0.4, "sd": 0.2, "sd_images": 0.1, "saturated_low": 0.1, "saturated_high": 0.0, "dead": 0.0}
USUAL = Diagnosis("layer1", "CBAM(64)", images=100, probed=64, **FIGURES)
ADVICE = {
    "nothing": ({}, ()),
    "strength": ({"strength": -0.013}, ("has hardly left the identity: strength -0.013",)),
    "the other way": (
        {"strength": -1.19},
        ("acts the other way round: strength -1.19, so it raises most what its sigmoid lets through least",),
    ),
    "constant": (
        {"sd": 0.004, "sd_images": 0.003},
        ("nearly constant: 0.400, spread 0.004; could be folded into the layer before it",),
    ),
    "same": (
        {"sd_images": 0.0191},
        ("the same for every image: spread between images 0.019; could be fixed at its mean",),
    ),
    "saturated": (
        {"saturated_low": 0.85, "saturated_high": 0.1},
        ("saturated: 95% of its factor lies at the ends of its range",),
    ),
    "dead": ({"dead": 0.25}, ("25% of its channels are never raised, whatever the image",)),
    "idle": (
        {"flipped": 0.0, "moved": 0.002},
        ("switched off, it turns none of 64 predictions; could be taken out",),
    ),
    "few were probed": ({"flipped": 0.0, "moved": 0.002, "probed": 15}, ()),
    "few images": ({"sd": 0.001, "sd_images": 0.0, "dead": 1.0, "saturated_low": 1.0, "images": 15}, ()),
    "it matters": ({"flipped": 0.0, "moved": 0.02}, ()),
    "both": (
        {"dead": 0.5, "flipped": 0.0, "moved": 0.0},
        (
            "50% of its channels are never raised, whatever the image",
            "switched off, it turns none of 64 predictions; could be taken out",
        ),
    ),
    "unknown": (dict.fromkeys(("mean", "sd", "sd_images", "saturated_low", "saturated_high", "dead")), ()),
}


@pytest.mark.parametrize(("figures", "words"), ADVICE.values(), ids=ADVICE)
def test_advice(figures, words):
    assert advice(replace(USUAL, **figures)) == words


def test_no_trace_is_left():
    model = resnet("bam").train()
    model.layer1.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    diagnosed(model, torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_no_trace_is_left_by_a_forward_that_fails():
    model = resnet("bam").train()
    with pytest.raises(RuntimeError):
        diagnosed(model, torch.randn(4, 5, 32, 32))
    assert all(module.training and not module._forward_hooks for module in model.modules())
