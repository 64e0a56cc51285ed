"""State dicts keep the host's names, both ways, and torch's strictness keeps its teeth."""

import copy

import pytest
import torch
from snapshot import FEW, gate_for, output, same_bits, same_output, unlike
from support.cases import HOSTS

import whatwhere as ww


def gated(name, gate="se", at="bottlenecks", seed=0, **options):
    case = HOSTS[name]
    if at == ".*" and case.exclude:
        at = r"(?!stage2$).*"
    model = case.build(seed)
    ww.attach_(model, gate_for(gate, case), at=at, **case.planning(), **options)
    return model


def values(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize(("name", "gate"), FEW)
def test_the_bare_hosts_checkpoint_loads_and_gates_keep_their_values(name, gate):
    model = gated(name, gate)
    bare = HOSTS[name].build(1).state_dict()
    before = values(model)
    result = model.load_state_dict(bare, strict=True)
    assert list(result) == [[], []]
    for key, value in model.state_dict().items():
        assert same_bits(value, bare.get(key, before[key])), key


@pytest.mark.parametrize(("name", "gate"), FEW)
def test_a_gated_checkpoint_loads_into_an_equally_gated_host(name, gate):
    case = HOSTS[name]
    model, other = gated(name, gate), gated(name, gate, seed=1)
    for one in ww.detach_(copy.deepcopy(model)).values():
        unlike(one)
    other.load_state_dict(model.state_dict(), strict=True)
    assert same_bits(list(other.state_dict().values()), list(model.state_dict().values()))
    assert same_output(other, case, output(model, case))


@pytest.mark.parametrize("at", ["bottlenecks", ".*"])
@pytest.mark.parametrize("name", HOSTS)
def test_host_state_dict_loads_into_the_bare_host(name, at):
    model, bare = gated(name, at=at), HOSTS[name].build(1)
    state = ww.host_state_dict(model)
    assert list(state) == list(bare.state_dict())
    assert list(bare.load_state_dict(state, strict=True)) == [[], []]
    assert same_output(bare, HOSTS[name], output(HOSTS[name].build(), HOSTS[name]))


@pytest.mark.parametrize("name", HOSTS)
def test_the_hosts_keys_keep_names_and_order(name):
    bare, state = HOSTS[name].build().state_dict(), gated(name, at=".*").state_dict()
    assert [key for key in state if key in bare] == list(bare)
    assert all(".gate." in key for key in state if key not in bare)


@pytest.mark.parametrize("at", [["stage1.1", "stage2"], ["stage1", "stage1.0", "stage1.1"]])
def test_gate_keys_follow_their_host(at):
    keys = list(gated("plain", at=at).state_dict())
    for name in at:
        own = [i for i, key in enumerate(keys) if key.startswith(f"{name}.gate.")]
        inside = [i for i, key in enumerate(keys) if key.startswith(f"{name}.") and i not in own]
        assert own == list(range(own[0], own[0] + 4))
        assert max(inside) == own[0] - 1


@pytest.mark.parametrize("name", ["plain", "in-place-add", "nested", "tied", "indexed"])
def test_versions_are_kept(name):
    bare = HOSTS[name].build().state_dict()
    state = gated(name, at=".*").state_dict()
    assert {key: state._metadata.get(key) for key in bare._metadata} == dict(bare._metadata)
    assert all(".gate" in key for key in state._metadata if key not in bare._metadata)
    assert {"version": 2} in bare._metadata.values()


def test_host_state_dict_keeps_the_versions():
    state = ww.host_state_dict(gated("plain", at="stage1.1"))
    assert getattr(state, "_metadata", None) == HOSTS["plain"].build().state_dict()._metadata


def test_a_batch_norm_behind_a_gate_still_misses_its_counter():
    state = HOSTS["plain"].build().state_dict()
    del state["stage1.1.num_batches_tracked"]
    with pytest.raises(RuntimeError, match=r"Missing key.*stage1\.1\..*num_batches_tracked"):
        gated("plain", at="bottlenecks").load_state_dict(state)


@pytest.mark.parametrize("at", ["bottlenecks", "stage1.1"])
def test_a_checkpoint_older_than_the_counter_loads(at):
    bare = HOSTS["plain"].build().state_dict()
    state = {key: value for key, value in bare.items() if not key.endswith("num_batches_tracked")}
    assert list(gated("plain", at=at).load_state_dict(state)) == [[], []]


@pytest.mark.parametrize("gate", ["se", "bam", "cbam"])
def test_a_missing_gate_key_is_refused(gate):
    model = gated("plain", gate)
    state = model.state_dict()
    key = next(key for key in state if ".gate." in key)
    del state[key]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{key}"'):
        model.load_state_dict(state)


def test_a_surplus_gate_key_is_refused():
    model = gated("plain")
    state = {**model.state_dict(), "stage1.2.gate.extra": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"stage1\.2\.gate\.extra"'):
        model.load_state_dict(state)


def test_a_gate_elsewhere_is_refused():
    model = gated("plain", at=["stage1.2"])
    with pytest.raises(RuntimeError, match=r"Unexpected key.*stage2\.2\.gate\."):
        model.load_state_dict(gated("plain").state_dict())


def test_other_hosts_keys_are_refused():
    model = gated("plain")
    state = HOSTS["plain"].build().state_dict()
    state["stage1.2.weight"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model.load_state_dict(state)
    del state["stage1.2.weight"], state["stage1.0.weight"]
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(state)


def test_bare_networks_refuse_gates():
    with pytest.raises(RuntimeError, match="Unexpected key"):
        HOSTS["plain"].build().load_state_dict(gated("plain").state_dict())


def test_the_given_state_is_not_changed():
    state = HOSTS["plain"].build().state_dict()
    keys = list(state)
    gated("plain").load_state_dict(state)
    assert list(state) == keys


def test_assigning_load():
    model = gated("plain")
    state = HOSTS["plain"].build(1).state_dict()
    model.load_state_dict(state, assign=True)
    assert model.stage1[0].weight.data_ptr() == state["stage1.0.weight"].data_ptr()
    model(*HOSTS["plain"].images())


def test_a_copys_gates_keep_the_copys_values():
    model = gated("plain")
    clone = copy.deepcopy(model)
    for gate in ww.detach_(clone).values():
        unlike(gate)
    clone = copy.deepcopy(model)
    with torch.no_grad():
        for key, value in clone.state_dict().items():
            if ".gate." in key:
                value.fill_(7)
    clone.load_state_dict(HOSTS["plain"].build().state_dict())
    assert all((value == 7).all() for key, value in clone.state_dict().items() if ".gate." in key)


def test_one_wrapper_alone():
    model = gated("plain", at="stage1")
    bare = HOSTS["plain"].build(1).stage1.state_dict()
    assert list(model.stage1.load_state_dict(bare)) == [[], []]
    assert [key for key in model.stage1.state_dict() if not key.startswith("gate.")] == list(bare)
