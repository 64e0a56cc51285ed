"""Weights of the authors' released modules give the authors' outputs."""

import pytest
import torch
from support import released

import whatwhere as ww
from whatwhere.errors import GateError

KINDS = {"bam": (ww.BAM, released.bam_state, released.bam), "cbam": (ww.CBAM, released.cbam_state, released.cbam)}
kinds = pytest.mark.parametrize(("gate", "state", "formula"), KINDS.values(), ids=KINDS)


@kinds
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("size", [(8, 8), (9, 5), (4, 11), (1, 1)], ids=str)
@pytest.mark.parametrize("channels", [32, 70])
def test_same_output(gate, state, formula, channels, size, train) -> None:
    loaded = gate(channels, preset="released")
    loaded.load_released(state(channels, seed=3))
    x = torch.randn(3, channels, *size)
    wanted = torch.from_numpy(formula(x.double().numpy(), state(channels, seed=3), train)).float()
    torch.testing.assert_close(loaded.train(train)(x), wanted, atol=1e-5, rtol=1e-5)


@kinds
def test_every_tensor_is_taken(gate, state, formula) -> None:
    loaded = gate(48, preset="released")
    theirs = state(48)
    loaded.load_released(theirs)
    ours = loaded.state_dict()
    assert len(ours) == len(theirs)
    assert sorted(v.double().sum().item() for v in ours.values()) == sorted(
        v.double().sum().item() for v in theirs.values()
    )
    assert all(value == 7 for name, value in ours.items() if name.endswith("num_batches_tracked"))


@kinds
def test_identity_start_keeps_its_strength(gate, state, formula) -> None:
    loaded = gate(32, preset="released", start="identity")
    loaded.load_released(state(32))
    x = torch.randn(2, 32, 4, 5)
    assert torch.equal(loaded.eval()(x), x)


@kinds
def test_counters_may_be_missing(gate, state, formula) -> None:
    old = {name: value for name, value in state(32).items() if not name.endswith("num_batches_tracked")}
    loaded = gate(32, preset="released").eval()
    loaded.load_released(old)
    x = torch.randn(2, 32, 4, 5)
    wanted = torch.from_numpy(formula(x.double().numpy(), old)).float()
    torch.testing.assert_close(loaded(x), wanted, atol=1e-5, rtol=1e-5)


def _refused(gate, state) -> str:
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    with pytest.raises(GateError) as found:
        gate.load_released(state)
    assert all(torch.equal(value, before[name]) for name, value in gate.state_dict().items())
    return str(found.value)


@kinds
def test_a_paper_gate_refuses(gate, state, formula) -> None:
    name = gate.__name__
    assert _refused(gate(32), state(32)) == (
        f"{name}(32).load_released(state): "
        "the tensors belong to the released code, and this gate computes preset='paper'\n"
        f"  fix: build it with {name}(32, preset='released')"
    )


@kinds
def test_wrong_keys_are_refused(gate, state, formula) -> None:
    name, made = gate.__name__, gate(32, preset="released")
    first = f"{name}(32).load_released(state): the keys are not those of one released module; nothing was changed"
    whole = state(32)
    short = {key: whole[key] for key in list(whole)[1:]}
    prefixed = {f"module.layer1.0.{key}": value for key, value in whole.items()}
    for wrong, got in (
        (short, "1 missing, 0 unknown"),
        (whole | {"extra.weight": torch.zeros(1)}, "0 missing, 1 unknown, such as 'extra.weight'"),
        (prefixed, "missing"),
        ({}, "missing, 0 unknown"),
    ):
        lines = _refused(made, wrong).splitlines()
        assert lines[0] == first
        assert lines[1].startswith("  got: ")
        assert got in lines[1]
        assert lines[2].startswith("  fix: cut off the prefix that leads to the module")


@kinds
def test_wrong_shapes_are_refused(gate, state, formula) -> None:
    first, got, fix = _refused(gate(32, preset="released"), state(64)).splitlines()
    assert first.startswith(f"{gate.__name__}(32).load_released(state): ")
    assert first.endswith(" has another shape; nothing was changed")
    assert got.startswith("  got: (")
    assert fix == "  fix: build the gate with the channels of the released one"
