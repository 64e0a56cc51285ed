"""``start="identity"`` leaves every host's output as it was, to the bit, until training moves it."""

import pytest
import torch
from snapshot import CASES, FEW, gate_for, output, same_output
from support.cases import HOSTS
from torch import nn

import whatwhere as ww


@pytest.mark.parametrize(("name", "gate"), CASES)
def test_identity(name, gate):
    case = HOSTS[name]
    model = case.build()
    before = output(model, case)
    ww.attach_(model, gate_for(gate, case), at="stages", start="identity", **case.planning())
    assert same_output(model, case, before)


@pytest.mark.parametrize(("name", "gate"), FEW)
def test_without_it_the_gates_act(name, gate):
    case = HOSTS[name]
    model = case.build()
    before = output(model, case)
    ww.attach_(model, gate_for(gate, case), at="bottlenecks", **case.planning())
    assert not same_output(model, case, before)


@pytest.mark.parametrize("gate", ["se", "bam", "cbam", "eca", "partial"])
def test_training_moves_it(gate):
    case = HOSTS["plain"]
    model = case.build()
    before = output(model, case)
    ww.attach_(model, gate_for(gate, case), at="bottlenecks", start="identity", **case.planning())
    strengths = [p for name, p in model.named_parameters() if name.endswith("strength")]
    assert len(strengths) == 2
    model(*case.images()).square().sum().backward()
    assert all(p.grad is not None and p.grad != 0 for p in strengths)
    torch.optim.SGD(strengths, 0.1).step()
    assert not same_output(model, case, before)


def test_a_gate_that_works_in_place_starts_at_the_identity_too():
    class InPlace(nn.Module):
        def __init__(self, channels):
            super().__init__()

        def forward(self, x):
            return x.mul_(0.5)

    case = HOSTS["plain"]
    model = case.build()
    before = output(model, case)
    ww.attach_(model, InPlace, at="bottlenecks", start="identity", **case.planning())
    assert same_output(model, case, before)


def test_start_in_the_gates_name_is_heeded_or_refused():
    case = HOSTS["plain"]
    model = case.build()
    before = output(model, case)
    try:
        ww.attach_(model, "bam:start=identity", **case.planning())
    except ww.WhatwhereError:
        return
    assert same_output(model, case, before)


def test_a_partial_that_starts_at_the_identity_by_itself():
    from functools import partial

    case = HOSTS["plain"]
    model = case.build()
    before = output(model, case)
    ww.attach_(model, partial(ww.BAM, start="identity"), **case.planning())
    assert same_output(model, case, before)
    ww.detach_(model)
    ww.attach_(model, partial(ww.BAM, start="identity"), start="identity", **case.planning())
    assert same_output(model, case, before)
