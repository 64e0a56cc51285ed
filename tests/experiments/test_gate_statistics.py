"""What gates did to one batch: figures worked out by hand, and no trace left."""

import json
from typing import ClassVar

import pytest
import torch
from support.cases import host
from torch import nn

import whatwhere as ww
from whatwhere import hosts
from whatwhere.experiments.gate_statistics import gate_statistics
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


def one_site(gate) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    ww.attach_(model, gate, at=["0"], input_size=(3, 4, 6))
    return model


def resnet(gate: str, **options) -> nn.Module:
    model = hosts.build("resnet8")
    ww.attach_(model, gate, input_size=(3, 32, 32), **options)
    return model


def test_figures_are_those_of_the_factor():
    factor = [[0.2, 0.4], [0.6, 0.8]]
    (entry,) = gate_statistics(one_site(lambda channels: Known(channels, factor)), torch.randn(2, 3, 4, 6))
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
    found = gate_statistics(model, torch.randn(4, 3, 32, 32))
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
    for entry in gate_statistics(model, torch.randn(2, 3, 32, 32)):
        assert (entry["saturated_low"], entry["saturated_high"]) == (low, high)
        assert entry["sd_images"] == 0
        assert entry["gain"] == pytest.approx(1 / (1 + torch.tensor(-bias).exp().item()), rel=1e-4)


def test_an_identity_start_has_a_strength_and_no_effect():
    for entry in gate_statistics(resnet("bam", start="identity"), torch.randn(2, 3, 32, 32)):
        assert (entry["strength"], entry["gain"]) == (0, 1)
        assert entry["mean"] > 1


def test_another_librarys_module_has_a_gain_alone():
    (entry,) = gate_statistics(one_site(lambda channels: nn.Softshrink(1e9)), torch.randn(2, 3, 4, 6))
    assert entry["gain"] == 0
    assert [key for key, value in entry.items() if value is not None] == ["site", "gate", "channels", "size", "gain"]


def test_a_gate_that_did_not_run_has_its_name_alone():
    model = resnet("se")
    with ww.disabled(model):
        found = gate_statistics(model, torch.randn(2, 3, 32, 32))
    assert len(found) == 3
    assert all(entry["gain"] is None and entry["channels"] is None for entry in found)


def test_one_image_says_nothing_about_the_spread_over_images():
    assert all(entry["sd_images"] is None for entry in gate_statistics(resnet("se"), torch.randn(1, 3, 32, 32)))


def test_what_is_not_finite_is_none():
    found = gate_statistics(resnet("se"), torch.full((2, 3, 32, 32), torch.nan))
    assert all(entry["mean"] is None and entry["gain"] is None for entry in found)


def test_a_bare_network_has_no_sites():
    assert gate_statistics(host("plain").train(), torch.randn(1, 3, 32, 32)) == []


def test_no_trace_is_left():
    model = resnet("bam").train()
    model.layer1.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    gate_statistics(model, torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_no_trace_is_left_by_a_forward_that_fails():
    model = resnet("bam").train()
    with pytest.raises(RuntimeError):
        gate_statistics(model, torch.randn(4, 5, 32, 32))
    assert all(module.training and not module._forward_hooks for module in model.modules())
