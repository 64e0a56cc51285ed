"""``plan`` changes nothing, sees through every awkward host, and says what it will cost."""

import dataclasses
import re

import pytest
import torch
from snapshot import FEW, gate_for, snapshot
from support.cases import HOSTS, UNCOPYABLE, host
from torch import nn

import whatwhere as ww
from whatwhere.cost import measure


@pytest.mark.parametrize(("name", "gate"), FEW)
def test_nothing_changes(name, gate):
    case = HOSTS[name]
    model = case.build()
    before = snapshot(model)
    ww.plan(model, gate_for(gate, case), at="bottlenecks", **case.planning())
    assert snapshot(model) == before


@pytest.mark.parametrize("name", HOSTS)
def test_sites_channels_and_sizes(name):
    case = HOSTS[name]
    plan = ww.plan(case.build(), "se", at="bottlenecks", **case.planning())
    assert tuple((site.name, site.side, site.channels, site.size) for site in plan.sites) == case.bottlenecks
    assert {site.dtype for site in plan.sites} == {case.dtype}
    assert {site.kind for site in plan.sites} == {"bottleneck"}
    assert [site.reduction for site in plan.sites] == [1, 2][: len(case.bottlenecks)]


@pytest.mark.parametrize("name", [name for name, case in HOSTS.items() if case.blocks])
def test_blocks(name):
    case = HOSTS[name]
    plan = ww.plan(case.build(), "cbam", **case.planning())
    assert tuple(site.name for site in plan.sites) == case.blocks


def test_a_host_that_keeps_its_last_map():
    case = UNCOPYABLE["last-map"]
    plan = ww.plan(case.build(), "se", at="bottlenecks", **case.planning())
    assert tuple((site.name, site.side, site.channels, site.size) for site in plan.sites) == case.bottlenecks


def test_a_host_that_keeps_a_lock_is_refused():
    case = UNCOPYABLE["lock"]
    with pytest.raises(ww.WhatwhereError) as caught:
        ww.plan(case.build(), "se", at="bottlenecks", **case.planning())
    assert str(caught.value).splitlines() == [
        "plan(KeepsLock, 'se', at='bottlenecks'): the network cannot be copied, and nothing is run on the network"
        " itself; nothing was changed",
        "  got: cannot pickle '_thread.lock' object",
        "  fix: clear what copy.deepcopy refuses: locks, open files, maps kept from an earlier forward",
    ]


def test_a_pruned_host():
    from torch.nn.utils import prune

    model = host("plain")
    prune.l1_unstructured(model.stage1[0], "weight", 0.5)
    assert len(ww.plan(model, "bam", input_size=(3, 16, 24)).sites) == 2


def test_a_reparametrised_host():
    model = host("plain")
    nn.utils.parametrizations.weight_norm(model.stage1[0])
    before = snapshot(model)
    assert len(ww.plan(model, "bam", input_size=(3, 16, 24)).sites) == 2
    assert snapshot(model) == before


def test_statistics_and_modes_of_a_host_in_training_stay():
    case = HOSTS["in-training"]
    model = case.build()
    ww.plan(model, "bam", **case.planning())
    counted = {name: int(b) for name, b in model.named_buffers() if name.endswith("num_batches_tracked")}
    assert set(counted.values()) == {0}
    assert model.stage1.training
    assert not model.stage2.training


def test_user_hooks_are_not_called_and_survive():
    case = HOSTS["hooked"]
    model = case.build()
    ww.attach_(model, "se", at="bottlenecks", **case.planning())
    assert model.seen == []
    model(*case.images())
    assert model.seen == ["after", "before", "before"]


def test_the_random_state_stays_when_a_gate_draws_while_it_is_built():
    class Drawn(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.scale = nn.Parameter(torch.randn(channels, 1, 1, device="cpu").to("meta"))

        def forward(self, x):
            return x * self.scale

    model = host("plain")
    before = torch.get_rng_state()
    ww.plan(model, Drawn, input_size=(3, 16, 24))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_default_input_is_the_first_convolutions():
    plan = ww.plan(host("plain"), "bam")
    assert [site.size for site in plan.sites] == [(224, 224), (112, 112)]
    plan = ww.plan(host("three-dimensions"), "bam")
    assert [site.size for site in plan.sites] == [(64, 64, 64), (32, 32, 32)]


@pytest.mark.parametrize("what", ["parameters", "macs", "bytes_moved", "bytes_kept"])
@pytest.mark.parametrize("gate", ["se", "bam", "cbam", "eca"])
def test_costs_are_those_of_one_image_in_the_gates_that_are_attached(gate, what):
    case = HOSTS["in-place-add"]
    model = case.build()
    plan = ww.attach_(model, gate_for(gate, case), at="stages", **case.planning())
    for site, cost in zip(plan.sites, plan.costs, strict=True):
        module = model.get_submodule(site.name).gate
        two, four = (getattr(measure(module, (batch, site.channels, *site.size)), what) for batch in (2, 4))
        # a batch norm in training takes no single image; what does not grow with the batch counts whole
        assert getattr(cost, what) == two - (four - two) // 2


def test_the_identity_costs_one_parameter_a_site():
    model = host("plain")
    preset, identity = (ww.plan(model, "bam", start=s, input_size=(3, 16, 24)) for s in ("preset", "identity"))
    assert identity.parameters == preset.parameters + 2


class TestTable:
    def rows(self, plan):
        return [re.split(r"  +", line.strip()) for line in str(plan).splitlines()[1:]]

    def test_title_and_columns(self):
        plan = ww.plan(host("in-place-add"), "bam", input_size=(3, 16, 24))
        title, head, *_ = str(plan).splitlines()
        assert title == "bam at bottlenecks of InPlaceAdd, start='preset'; MACs and bytes for one image"
        assert re.split(r"  +", head) == ["site", "kind", "channels", "size", "parameters", "MACs", "bytes kept"]

    @pytest.mark.parametrize("name", HOSTS)
    def test_one_row_a_site_and_the_totals(self, name):
        case = HOSTS[name]
        plan = ww.plan(case.build(), "se", at="stages", **case.planning())
        _, *rows, total = self.rows(plan)[: -1 if plan.unplaced else None]
        assert len(rows) == len(plan.sites)
        for row, site, cost in zip(rows, plan.sites, plan.costs, strict=True):
            assert row == [
                site.name if site.side == "output" else f"before {site.name}",
                "stage",
                str(site.channels),
                "x".join(map(str, site.size)),
                f"{cost.parameters:,}",
                f"{cost.macs:,}",
                f"{cost.bytes_kept:,}",
            ]
        count = f"{len(rows)} sites" if len(rows) > 1 else "1 site"
        assert total == [count, f"{plan.parameters:,}", f"{plan.macs:,}", f"{plan.bytes_kept:,}"]
        assert plan.parameters == sum(cost.parameters for cost in plan.costs)
        assert plan.macs == sum(cost.macs for cost in plan.costs)
        assert plan.bytes_kept == sum(cost.bytes_kept for cost in plan.costs)

    def test_written_out(self):
        plan = ww.plan(host("plain"), "se", at="bottlenecks", input_size=(3, 16, 24))
        assert str(plan).splitlines() == [
            "se at bottlenecks of Plain, start='preset'; MACs and bytes for one image",
            "site      kind        channels   size  parameters  MACs  bytes kept",
            "stage1.2  bottleneck        16  16x24          49    32      24,708",
            "stage2.2  bottleneck        32   8x12         162   128      12,552",
            "2 sites                                       211   160      37,260",
        ]


def test_every_documented_attribute_exists():
    documented = re.findall(r"^ {8}(\w+):", ww.Plan.__doc__, re.MULTILINE)
    assert set(documented) <= {field.name for field in dataclasses.fields(ww.Plan)}
