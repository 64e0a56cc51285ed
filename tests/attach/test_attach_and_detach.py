"""``attach_`` and ``detach_`` are inverse; a failing attach changes nothing."""

from functools import partial

import pytest
import torch
from snapshot import FEW, gate_for, output, same_output, snapshot
from support.awkward import Untraceable
from support.cases import HOSTS, UNCOPYABLE, host
from torch import nn

import whatwhere as ww
from whatwhere.attach import Gated


def without_random(model):
    found = snapshot(model)
    found.pop("random")
    return found


@pytest.mark.parametrize("at", ["transitions", ".*"])
@pytest.mark.parametrize("name", HOSTS)
def test_detach_is_the_inverse_at_every_place(name, at):
    case = HOSTS[name]
    model = case.build()
    given = case.planning()
    if name == "named-gate":
        given["exclude"] = "stage2"
    before, given_out = without_random(model), output(case.build(), case)
    plan = ww.attach_(model, "se", at=at, **given)
    assert len(ww.status(model).gates) == len(plan.sites)
    gates = ww.detach_(model)
    assert gates
    assert set(gates) == {site.name for site in plan.sites}
    assert all(type(gate) is ww.SE for gate in gates.values())
    assert without_random(model) == before
    assert same_output(model, case, given_out)
    assert not any(isinstance(module, Gated) for module in model.modules())


@pytest.mark.parametrize(("name", "gate"), FEW)
def test_detach_is_the_inverse_for_every_gate(name, gate):
    case = HOSTS[name]
    model = case.build()
    before = without_random(model)
    ww.attach_(model, gate_for(gate, case), at="bottlenecks", **case.planning())
    assert len(ww.detach_(model)) == len(case.bottlenecks)
    assert without_random(model) == before


def test_nested_sites_detach_too():
    case = HOSTS["in-place-add"]
    model = case.build()
    before = without_random(model)
    ww.attach_(model, "se", at=["layer1", "layer1.1", "layer1.1.bn2"], **case.planning())
    assert [gate.name for gate in ww.status(model).gates] == ["layer1", "layer1.1", "layer1.1.bn2"]
    assert list(ww.detach_(model)) == ["layer1", "layer1.1", "layer1.1.bn2"]
    assert without_random(model) == before


def test_detach_of_a_bare_network_gives_nothing():
    model = host("plain")
    before = snapshot(model)
    assert ww.detach_(model) == {}
    assert snapshot(model) == before


def test_a_module_of_two_names_is_gated_under_both():
    case = HOSTS["tied"]
    model = case.build()
    ww.attach_(model, "se", at=["alias.1"], **case.planning())
    assert model.stage2[1] is model.alias[1]
    assert type(model.stage2[1]) is Gated
    assert [gate.name for gate in ww.status(model).gates] == ["stage2.1"]


def test_weights_that_training_gave_stay():
    case = HOSTS["plain"]
    model = case.build()
    ww.attach_(model, "se", **case.planning(), at="bottlenecks")
    with torch.no_grad():
        model.stage1[0].weight.zero_()
    ww.detach_(model)
    assert not model.stage1[0].weight.any()


class Halves(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return x[:, ::2]


def refuses_32(channels, error=RuntimeError):
    if channels == 32:
        raise error("no gate of 32 channels")
    return ww.SE(channels)


class OnlyPlanned:
    """Builds gates on the meta device and fails when the real ones are asked for."""

    def __call__(self, channels):
        if torch.get_default_device().type != "meta":
            raise RuntimeError("no memory left")
        return ww.SE(channels)


FAILURES = {
    "unknown-site": {"at": "stage5"},
    "no-match": {"at": "layer.*"},
    "bad-regex": {"at": "stage("},
    "one-unknown-in-a-list": {"at": ["stage1.0", "stage9"]},
    "empty-list": {"at": []},
    "no-name-at-all": {"at": 3},
    "predicate-never-true": {"at": lambda site: False},
    "predicate-raises": {"at": lambda site: site.colour == "red"},
    "exclude-all": {"exclude": ".*"},
    "bad-exclude": {"exclude": "stage("},
    "no-map": {"at": "head"},
    "no-residual": {"at": "blocks"},
    "unknown-gate": {"gate": "bamm"},
    "unknown-option": {"gate": "bam:reductio=8"},
    "bad-option": {"gate": "bam:reduction=0"},
    "unknown-start": {"start": "zero"},
    "unknown-start-for-any-module": {"gate": lambda channels: nn.Identity(), "start": "zero"},
    "changes-the-shape": {"gate": Halves},
    "raises": {"gate": partial(refuses_32, error=RuntimeError)},
    "raises-key-error": {"gate": partial(refuses_32, error=KeyError)},
    "raises-assertion": {"gate": partial(refuses_32, error=AssertionError)},
    "raises-when-built": {"gate": OnlyPlanned()},
    "no-module": {"gate": lambda channels: 3},
    "none": {"gate": None},
    "gate-instance": {"gate": ww.BAM(16)},
    "wrong-channels": {"input_size": (1, 16, 24)},
    "wrong-dimensions": {"input_size": (3, 2, 16, 24)},
    "size-is-a-number": {"input_size": 24},
    "negative-size": {"input_size": (3, -1, 24)},
    "no-input": {"inputs": ()},
}
# what the user's own callable raises while the real gates are made is the user's
OWN_ERRORS = {"predicate-raises": AttributeError, "raises-when-built": RuntimeError}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failing_attach_changes_nothing(kind):
    model = host("plain")
    before = snapshot(model)
    call = {"gate": "bam", "input_size": (3, 16, 24), **FAILURES[kind]}
    with pytest.raises(OWN_ERRORS.get(kind, ww.WhatwhereError)):
        ww.attach_(model, call.pop("gate"), **call)
    if kind == "raises-when-built":
        before.pop("random")
        assert without_random(model) == before
    else:
        assert snapshot(model) == before


def test_a_host_that_depends_on_values_is_refused():
    model = Untraceable()
    before = snapshot(model)
    with pytest.raises(ww.WhatwhereError):
        ww.attach_(model, "bam", input_size=(3, 16, 24))
    assert snapshot(model) == before


@pytest.mark.parametrize("name", UNCOPYABLE)
def test_a_host_that_cannot_be_deep_copied_attaches_or_is_refused_plainly(name):
    case = UNCOPYABLE[name]
    model = case.build()
    try:
        ww.attach_(model, "bam", **case.planning())
    except ww.WhatwhereError:
        assert ww.status(model).gates == []


def test_attaching_twice_is_refused():
    model = host("plain")
    ww.attach_(model, "bam", input_size=(3, 16, 24))
    before = snapshot(model)
    with pytest.raises(ww.WhatwhereError) as caught:
        ww.attach_(model, "se", at="bottlenecks", input_size=(3, 16, 24))
    assert str(caught.value).splitlines() == [
        "attach_(Plain, 'se', at='bottlenecks'): the network already carries gates; nothing was changed",
        "  got: 2 gates, the first at 'stage1.2'",
        "  fix: detach_(model) takes them out",
    ]
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("wrapped", "name"),
    [(nn.DataParallel, "DataParallel"), (partial(torch.compile, backend="eager"), "OptimizedModule")],
    ids=["data-parallel", "compiled"],
)
def test_wrapped_networks_are_refused(wrapped, name):
    model = host("plain")
    outer = wrapped(model)
    before = snapshot(model)
    with pytest.raises(ww.WhatwhereError) as caught:
        ww.attach_(outer, "bam", input_size=(3, 16, 24))
    assert str(caught.value).splitlines() == [
        f"attach_({name}, 'bam', at='bottlenecks'): the network is wrapped in {name}; nothing was changed",
        "  fix: attach the gates first, then wrap or compile",
    ]
    assert snapshot(model) == before


class Listed(nn.Module):
    """Keeps its stages in a plain list as well, and calls them through it."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = []
        for index, (inputs, outputs, stride) in enumerate(((3, 16, 1), (16, 32, 2), (32, 64, 2))):
            self.add_module(f"res{index}", nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU()))
            self.stages.append(getattr(self, f"res{index}"))

    def forward(self, x):
        for part in self.stages:
            x = part(x)
        return x.mean((2, 3))


def test_a_gate_that_would_never_run_is_refused():
    model = Listed()
    before = snapshot(model)
    with pytest.raises(ww.WhatwhereError) as caught:
        ww.attach_(model, "se", at=["res0", "res1"], input_size=(3, 16, 24))
    assert str(caught.value).splitlines() == [
        "attach_(Listed, se, at=['res0', 'res1']): a gate at 'res0' would never run; nothing was changed",
        "  got: the network calls that module by another reference than its parent's",
        "  fix: keep modules in nn.ModuleList instead of a list, or choose another site",
    ]
    before.pop("random")
    assert without_random(model) == before
