"""Gates alone on disk: there and back, and every way in which a folder can be wrong."""

import json
import os

import pytest
import torch
from snapshot import output, same_bits, same_output, snapshot, unlike
from support.cases import HOSTS, host

import whatwhere as ww

SIZE = {"input_size": (3, 16, 24)}


def gated(gate="bam", name="plain", **options):
    case = HOSTS[name]
    model = case.build()
    ww.attach_(model, gate, **{"at": "bottlenecks", **case.planning(), **options})
    for module in list(model.modules()):
        if isinstance(module, ww.Gate):
            unlike(module)
    return model


def refusal(call, *arguments):
    with pytest.raises(ww.WhatwhereError) as caught:
        call(*arguments)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", HOSTS)
def test_into_a_fresh_host(name, tmp_path):
    case = HOSTS[name]
    model = gated("se", name)
    ww.save_gates(model, tmp_path)
    other = case.build()
    ww.load_gates(other, tmp_path)
    assert ww.status(other) == ww.status(model)
    assert same_bits(list(other.state_dict().values()), list(model.state_dict().values()))
    assert list(other.state_dict()) == list(model.state_dict())
    assert same_output(other, case, output(model, case))


@pytest.mark.parametrize(
    "options", ["", ":combine=product", ":preset=released", ":pools=avg+max:norm=group:reduction=2"]
)
@pytest.mark.parametrize("start", ["preset", "identity"])
def test_options_come_back(options, start, tmp_path):
    model = gated(f"bam{options}", start=start)
    ww.save_gates(model, str(tmp_path / "deep" / "folder"))
    other = host("plain")
    ww.load_gates(other, tmp_path / "deep" / "folder")
    assert [repr(gate) for gate in ww.detach_(other).values()] == [repr(gate) for gate in ww.detach_(model).values()]


def test_modes_follow_the_host(tmp_path):
    ww.save_gates(gated(), tmp_path)
    other = host("plain").train()
    ww.load_gates(other, tmp_path)
    assert all(gate.training for gate in ww.status(other).gates)


@pytest.mark.parametrize("gate", ["bam", "cbam", "eca"])
def test_into_an_attached_host(gate, tmp_path):
    if gate == "eca":
        from timm.layers import EcaModule as gate
    other = gated(gate)
    model = gated(gate)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if ".gate." in key:
                value.copy_(torch.ones_like(value))
    ww.save_gates(model, tmp_path)
    ww.load_gates(other, tmp_path)
    assert same_bits(list(other.state_dict().values()), list(model.state_dict().values()))


def test_the_folder_holds_gates_and_nothing_else(tmp_path):
    from safetensors.torch import load_file

    model = gated()
    ww.save_gates(model, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["gates.json", "gates.safetensors"]
    tensors = load_file(tmp_path / "gates.safetensors")
    assert set(tensors) == {key for key in model.state_dict() if ".gate." in key}
    described = json.loads((tmp_path / "gates.json").read_text())
    assert list(described["gates"]) == ["stage1.2", "stage2.2"]
    assert described["gates"]["stage1.2"]["config"]["channels"] == 16


def test_saving_twice_overwrites(tmp_path):
    ww.save_gates(gated(), tmp_path)
    model = gated("se")
    ww.save_gates(model, tmp_path)
    other = host("plain")
    ww.load_gates(other, tmp_path)
    assert ww.status(other) == ww.status(model)


def test_no_gates_to_save(tmp_path):
    assert refusal(ww.save_gates, host("plain"), tmp_path) == [
        f"save_gates(Plain, '{tmp_path}'): the network carries no gates",
        "  fix: attach_(model, 'bam') puts some in",
    ]
    assert os.listdir(tmp_path) == []


def test_the_folder_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert refusal(ww.save_gates, gated(), tmp_path / "file")[0] == (
        f"save_gates(Plain, '{tmp_path}/file'): the folder cannot be written"
    )
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_folder_that_cannot_be_written(failing, tmp_path, monkeypatch):
    ww.save_gates(gated("se"), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if failing == "replace":
        monkeypatch.setattr(os, "replace", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    assert refusal(ww.save_gates, gated(), tmp_path) == [
        f"save_gates(Plain, '{tmp_path}'): the folder cannot be written",
        "  got: [Errno 28] No space left on device",
    ]
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after == before


def test_another_network(tmp_path):
    ww.save_gates(gated(), tmp_path)
    model = host("in-place-add")
    before = snapshot(model)
    assert refusal(ww.load_gates, model, tmp_path) == [
        f"load_gates(InPlaceAdd, '{tmp_path}'): the gates belong to another network; nothing was changed",
        "  got: gates of a Plain whose tensors have other names or shapes",
        "  fix: build the network as it was when they were saved, classes and all",
    ]
    assert snapshot(model) == before


def test_other_gates(tmp_path):
    ww.save_gates(gated("bam"), tmp_path)
    model = gated("se")
    before = snapshot(model)
    assert refusal(ww.load_gates, model, tmp_path) == [
        f"load_gates(Plain, '{tmp_path}'): the network carries other gates than those saved; nothing was changed",
        "  got: 2 gates here, 2 saved, and they differ at 'stage1.2'",
        "  fix: detach_(model) first, and load_gates attaches those of the file",
    ]
    assert snapshot(model) == before


def test_gates_elsewhere(tmp_path):
    ww.save_gates(gated("bam"), tmp_path)
    model = gated("bam", at=["stage1.2"])
    assert refusal(ww.load_gates, model, tmp_path)[1] == ("  got: 1 gates here, 2 saved, and they differ at 'stage2.2'")


def test_gates_of_other_widths(tmp_path):
    ww.save_gates(gated("se"), tmp_path)
    model = gated("se:reduction=4")
    before = snapshot(model)
    lines = refusal(ww.load_gates, model, tmp_path)
    assert lines[0].startswith(f"load_gates(Plain, '{tmp_path}'): ")
    assert lines[0].endswith("; nothing was changed")
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("saved", "here"),
    [
        ({"gate": "bam:combine=product"}, {"gate": "bam"}),
        ({"gate": "bam:dilation=2"}, {"gate": "bam"}),
        ({"gate": "cbam:order=parallel"}, {"gate": "cbam"}),
        ({"gate": "cbam:pools=max"}, {"gate": "cbam"}),
    ],
    ids=["combine", "dilation", "order", "pools"],
)
def test_gates_of_the_same_shapes_that_compute_something_else(saved, here, tmp_path):
    ww.save_gates(gated(**saved), tmp_path)
    model = gated(**here)
    before = snapshot(model)
    assert refusal(ww.load_gates, model, tmp_path)[0].endswith("; nothing was changed")
    assert snapshot(model) == before


def test_gates_on_the_other_side(tmp_path):
    # both stand at the convolution, one before it and one behind; its input and output have 32 channels each
    ww.save_gates(gated("se", "functional-relu", at="bottlenecks", exclude=["conv2"]), tmp_path)
    model = gated("se", "functional-relu", at=["conv3"])
    before = snapshot(model)
    assert refusal(ww.load_gates, model, tmp_path)[0].endswith("; nothing was changed")
    assert snapshot(model) == before


@pytest.mark.parametrize("missing", ["gates.json", "gates.safetensors"])
def test_a_missing_file(missing, tmp_path):
    ww.save_gates(gated(), tmp_path)
    (tmp_path / missing).unlink()
    assert refusal(ww.load_gates, host("plain"), tmp_path) == [
        f"load_gates(Plain, '{tmp_path}'): there are no saved gates in that folder",
        f"  got: no {missing}",
        "  fix: save_gates(model, folder) writes gates.json and gates.safetensors",
    ]


def test_a_missing_folder(tmp_path):
    assert refusal(ww.load_gates, host("plain"), tmp_path / "none")[:2] == [
        f"load_gates(Plain, '{tmp_path}/none'): there are no saved gates in that folder",
        "  got: no gates.json",
    ]


@pytest.mark.parametrize("kept", [0, 4, 100, -8])
def test_truncated_tensors(kept, tmp_path):
    ww.save_gates(gated(), tmp_path)
    path = tmp_path / "gates.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    model = host("plain")
    before = snapshot(model)
    assert refusal(ww.load_gates, model, tmp_path)[0] == (
        f"load_gates(Plain, '{tmp_path}'): the files are broken; nothing was changed"
    )
    assert snapshot(model) == before


@pytest.mark.parametrize("text", [b"", b"{", b'{"format": 1', b"\xff\xfe"])
def test_broken_json(text, tmp_path):
    ww.save_gates(gated(), tmp_path)
    (tmp_path / "gates.json").write_bytes(text)
    assert refusal(ww.load_gates, host("plain"), tmp_path)[0] == (
        f"load_gates(Plain, '{tmp_path}'): the files are broken; nothing was changed"
    )


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 2, "host_fingerprint": ""}', "null"])
def test_json_of_another_format(text, tmp_path):
    ww.save_gates(gated(), tmp_path)
    (tmp_path / "gates.json").write_text(text)
    assert refusal(ww.load_gates, host("plain"), tmp_path) == [
        f"load_gates(Plain, '{tmp_path}'): gates.json is not of format 1; nothing was changed"
    ]


def _without_gates(described):
    del described["gates"]


def _list_of_gates(described):
    described["gates"] = list(described["gates"])


def _without_config(described):
    del described["gates"]["stage1.2"]["config"]


def _without_side(described):
    del described["gates"]["stage1.2"]["side"]


def _unknown_option(described):
    described["gates"]["stage1.2"]["config"]["colour"] = "red"


def _bad_option(described):
    described["gates"]["stage1.2"]["config"]["reduction"] = "many"


def _unknown_gate(described):
    described["gates"]["stage1.2"]["gate"] = "Bum"


@pytest.mark.parametrize(
    "spoil",
    [
        _without_gates,
        _list_of_gates,
        _without_config,
        _without_side,
        _unknown_option,
        _bad_option,
        _unknown_gate,
    ],
    ids=lambda spoil: spoil.__name__[1:],
)
def test_json_with_a_part_missing_or_wrong(spoil, tmp_path):
    ww.save_gates(gated(), tmp_path)
    described = json.loads((tmp_path / "gates.json").read_text())
    spoil(described)
    (tmp_path / "gates.json").write_text(json.dumps(described))
    model = host("plain")
    before = snapshot(model)
    refusal(ww.load_gates, model, tmp_path)
    assert {**snapshot(model), "random": 0} == {**before, "random": 0}


def test_tensors_of_other_gates_than_the_json_says(tmp_path):
    ww.save_gates(gated("se"), tmp_path)
    tensors = (tmp_path / "gates.safetensors").read_bytes()
    ww.save_gates(gated("bam"), tmp_path)
    (tmp_path / "gates.safetensors").write_bytes(tensors)
    assert refusal(ww.load_gates, host("plain"), tmp_path)[0] == (
        f"load_gates(Plain, '{tmp_path}'): gates.safetensors is not the file that gates.json was written with;"
        " nothing was changed"
    )


def test_foreign_gates_need_to_be_attached_first(tmp_path):
    from timm.layers import EcaModule

    ww.save_gates(gated(EcaModule), tmp_path)
    model = host("plain")
    before = snapshot(model)
    assert refusal(ww.load_gates, model, tmp_path) == [
        f"load_gates(Plain, '{tmp_path}'): a EcaModule cannot be built from the file; nothing was changed",
        "  fix: attach_ the same gates first, then load_gates fills them",
    ]
    assert snapshot(model) == before


def test_loading_leaves_the_hosts_weights(tmp_path):
    ww.save_gates(gated(), tmp_path)
    other = HOSTS["plain"].build(1)
    before = other.state_dict()
    ww.load_gates(other, tmp_path)
    assert same_bits(list(ww.host_state_dict(other).values()), list(before.values()))
