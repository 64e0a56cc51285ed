"""Controls of equal budget: how near they come, and that a frozen gate stays what it was."""

import pytest
import torch

from whatwhere import hosts
from whatwhere.errors import HostError, RunError
from whatwhere.experiments.arms import build_network, settled
from whatwhere.experiments.controls import width_for
from whatwhere.experiments.spec import Comparison

SHAPE, CLASSES = (3, 32, 32), 100


def network(host, arm, seed=0):
    return build_network(Comparison(host, (), "cifar100", stem="small").trial(arm, seed), SHAPE, CLASSES)


def parameters(model):
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(("host", "over"), [("resnet20", 0.03), ("resnet50", 0.002)])
def test_a_wider_host_has_a_little_more_than_its_gates_parameters(host, over):
    target = parameters(network(host, "bam").model)
    assert target <= parameters(network(host, f"wider:parameters={target}").model) < (1 + over) * target


def test_the_width_of_the_hosts_own_parameters_is_one():
    own = parameters(hosts.skeleton("resnet20", num_classes=CLASSES))
    width = width_for("resnet20", own, num_classes=CLASSES, in_channels=3, stem="small")
    assert parameters(hosts.build("resnet20", num_classes=CLASSES, width=width)) == own


def test_a_host_cannot_be_made_wider_down():
    with pytest.raises(HostError) as caught:
        network("resnet20", "wider:parameters=1000")
    assert str(caught.value) == (
        "wider:parameters=1000: a wider host has more parameters than the host\n"
        "  got: 'resnet20' has 275,572\n"
        "  fix: the parameters of the host with its gate"
    )


def test_a_slip_of_the_keyboard_fills_no_memory():
    with pytest.raises(HostError) as caught:
        network("resnet20", "wider:parameters=27609100000")
    assert str(caught.value) == (
        "wider:parameters=27609100000: that is more than 100 times the host\n"
        "  got: 'resnet20' has 275,572\n"
        "  fix: the parameters of the host with its gate"
    )


def test_deeper_hosts_get_the_blocks_that_come_nearest():
    bare, target = (parameters(network("resnet50", arm).model) for arm in ("none", "bam"))
    arm = network("resnet50", f"deeper:parameters={target}")
    found = parameters(arm.model)
    assert abs(found - target) < 0.1 * (target - bare)
    assert len(arm.sites) >= 1


def test_a_deeper_host_has_at_least_one_block_more():
    arm = network("resnet20", "deeper:parameters=275573")
    assert len(arm.sites) == 1
    assert parameters(arm.model) == 275_572 + 2 * 9 * 16 * 16 + 2 * 2 * 16


@pytest.mark.parametrize(("host", "blocks"), [("resnet50", 1_466_000), ("wrn28-8", 1_475_000)])
def test_extra_blocks_stand_where_bam_would(host, blocks):
    bare, more, gated = (network(host, arm) for arm in ("none", "extra_block", "bam"))
    assert more.sites == gated.sites
    assert parameters(more.model) - parameters(bare.model) == pytest.approx(blocks, rel=0.005)


def test_a_frozen_gate_is_random_and_never_trained():
    frozen, other = (network("resnet8", "bam/frozen", seed).model for seed in (0, 1))
    gates = [name for name, weight in frozen.named_parameters() if not weight.requires_grad]
    assert gates
    assert all(".gate." in name for name in gates)
    trained = {name for name, weight in frozen.named_parameters() if weight.requires_grad}
    assert trained == {name for name, _ in frozen.named_parameters() if ".gate." not in name}
    assert any(not torch.equal(frozen.get_parameter(name), other.get_parameter(name)) for name in gates)


def test_budgets_wait_for_the_data():
    asked = Comparison("resnet20", ("none", "bam", "wider", "deeper"), "x")
    found = settled(asked, "cifar100", SHAPE, CLASSES)
    assert (found.data, found.stem) == ("cifar100", "small")
    assert found.gates == ("none", "bam", "wider:parameters=276091", "deeper:parameters=276091")


def test_without_a_gate_there_is_no_budget():
    with pytest.raises(RunError) as caught:
        settled(Comparison("resnet20", ("none", "wider"), "x"), "cifar100", SHAPE, CLASSES)
    assert str(caught.value) == (
        "compare(gates='none,wider'): there is no gate whose parameters to match\n"
        "  fix: add a gate, or write wider:parameters=276091"
    )
    with pytest.raises(RunError) as caught:
        network("resnet20", "deeper")
    assert str(caught.value) == "arm 'deeper': how many parameters?\n  fix: write deeper:parameters=276091"
