"""Gates switched off for a while, and what a network says about its gates."""

import pytest
import torch
from snapshot import output, same_output
from support.cases import HOSTS, host
from torch import nn

import whatwhere as ww


def gated(name="plain", gate="bam", **options):
    case = HOSTS[name]
    model = case.build()
    ww.attach_(model, gate, **{"at": "bottlenecks", **case.planning(), **options})
    return model


@pytest.mark.parametrize("name", HOSTS)
def test_disabled_gates_do_nothing(name):
    case = HOSTS[name]
    bare = output(case.build(), case)
    model = gated(name, "se")
    with_gates = output(model, case)
    with ww.disabled(model) as inside:
        assert inside is model
        assert not any(gate.enabled for gate in ww.status(model).gates)
        assert same_output(model, case, bare)
    assert all(gate.enabled for gate in ww.status(model).gates)
    assert same_output(model, case, with_gates)


def test_after_an_exception_all_is_as_before():
    model = gated()
    with pytest.raises(ZeroDivisionError), ww.disabled(model):
        raise ZeroDivisionError
    assert all(gate.enabled for gate in ww.status(model).gates)


def test_nested():
    model = gated()
    with ww.disabled(model):
        with ww.disabled(model):
            pass
        assert not any(gate.enabled for gate in ww.status(model).gates)
    assert all(gate.enabled for gate in ww.status(model).gates)


def test_of_a_part():
    model = gated()
    with ww.disabled(model.stage2):
        assert [gate.enabled for gate in ww.status(model).gates] == [True, False]
    assert all(gate.enabled for gate in ww.status(model).gates)


def test_of_a_bare_network():
    with ww.disabled(host("plain")) as model:
        assert ww.status(model).gates == []


def test_the_switch_is_not_in_the_state():
    model = gated()
    with ww.disabled(model):
        state = model.state_dict()
    assert list(state) == list(model.state_dict())


class TestStatus:
    def test_of_a_bare_network(self):
        status = ww.status(host("plain"))
        assert status.gates == []
        assert str(status) == "Plain carries no gates"

    def test_written_out(self):
        model = gated(start="identity")
        assert str(ww.status(model)).splitlines() == [
            "Plain carries 2 gates, 521 parameters, 521 of them trainable",
            "stage1.2  BAM(16, start='identity')  on, eval, strength 0",
            "stage2.2  BAM(32, start='identity')  on, eval, strength 0",
        ]

    def test_one_gate(self):
        model = gated("in-place-add", at=["layer1"])
        assert str(ww.status(model)).splitlines()[0] == (
            "InPlaceAdd carries 1 gate, 130 parameters, 130 of them trainable"
        )

    def test_states(self):
        model = gated("functional-relu", "se").train()
        model.conv2.gate.requires_grad_(False)
        with ww.disabled(model):
            first, second = ww.status(model).gates
        assert (first.name, first.gate, first.side) == ("conv2", "SE(16)", "input")
        assert (first.enabled, first.training, first.strength) == (False, True, None)
        assert (first.parameters, first.trainable) == (49, 0)
        assert (second.parameters, second.trainable) == (162, 162)
        assert str(ww.status(model)).splitlines()[1] == "conv2  (before) SE(16)  on, train"

    def test_strength_after_a_step(self):
        model = gated(start="identity")
        with torch.no_grad():
            model.stage1[2].gate.strength.fill_(0.25)
        assert [gate.strength for gate in ww.status(model).gates] == [0.25, 0.0]

    def test_foreign_gates_by_their_class(self):
        from timm.layers import EcaModule

        assert [gate.gate for gate in ww.status(gated(gate=EcaModule)).gates] == ["EcaModule"] * 2

    def test_a_foreign_gate_with_a_strength_of_its_own(self):
        class Fixed(nn.Module):
            def __init__(self, channels):
                super().__init__()
                self.strength = 0.5

            def forward(self, x):
                return self.strength * x

        assert len(ww.status(gated(gate=Fixed)).gates) == 2

    def test_changes_nothing(self):
        from snapshot import snapshot

        model = gated()
        before = snapshot(model)
        str(ww.status(model))
        assert snapshot(model) == before

    def test_on_the_meta_device(self):
        model = gated(start="identity").to("meta")
        assert [gate.strength for gate in ww.status(model).gates] == [None, None]
