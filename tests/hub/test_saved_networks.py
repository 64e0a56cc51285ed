"""A network and its gates into a folder and back, to the bit; and folders that are not what they claim."""

import copy
import hashlib
import json
import pickle

import pytest
import torch
from released_networks import trained_looking
from safetensors.torch import load_file, save
from torch import nn

import whatwhere as ww
from whatwhere import hosts
from whatwhere.errors import HostError
from whatwhere.hub import GatedNetwork, NetworkConfig, load_network, save_network

FACTS = {"host": "resnet8", "num_classes": 3, "image_size": (9, 12), "stem": "small"}
IMAGES = torch.randn(2, 3, 9, 12, generator=torch.Generator().manual_seed(5))


def host(gate="bam", **options) -> nn.Module:
    model = hosts.build("resnet8", num_classes=3)
    if gate:
        ww.attach_(model, gate, input_size=(3, 32, 32), **options)
    return trained_looking(model)


@pytest.fixture
def folder(tmp_path):
    save_network(host(), tmp_path / "net", **FACTS, classes=("a", "b", "c"), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    return tmp_path / "net"


GATES = {
    "none": (None, {}),
    "paper": ("bam", {}),
    "released": ("cbam:preset=released", {}),
    "options": ("bam:pools=avg+max:combine=max:norm=group:reduction=2", {}),
    "identity": ("se", {"start": "identity"}),
    "before": ("bam", {"at": "transitions"}),
    "one": (ww.SpatialGate, {"at": ["layer2.0.bn2"]}),
}


@pytest.mark.parametrize(("gate", "options"), GATES.values(), ids=GATES)
def test_round_trip(gate, options, tmp_path) -> None:
    model = host(gate, **options)
    save_network(model, tmp_path, **FACTS)
    loaded = load_network(tmp_path)
    assert not loaded.training
    state = loaded.network.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(loaded(IMAGES), model(IMAGES))
    assert str(ww.status(loaded.network)) == str(ww.status(model))


def test_the_tensors_are_the_networks_own(folder) -> None:
    """Names as in the bare host, gates beside them: what other programs read."""
    state = host().state_dict()
    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == state.keys()
    config = json.loads((folder / "config.json").read_text())
    assert config["tensors"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert (config["library_name"], config["host"], config["image_size"]) == ("whatwhere", "resnet8", [9, 12])
    assert set(config["gates"]) == {"layer1.0", "layer2.0"}


def test_saved_again_is_the_same_folder(folder, tmp_path) -> None:
    load_network(folder).save(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    load_network(folder).save(folder)  # over itself


def test_half_precision_stays(tmp_path) -> None:
    model = host().to(torch.bfloat16)
    save_network(model, tmp_path, **FACTS)
    loaded = load_network(tmp_path)
    images = IMAGES.to(torch.bfloat16)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}
    assert torch.equal(loaded(images), model(images))


def test_a_wider_host(tmp_path) -> None:
    model = trained_looking(hosts.build("resnet8", num_classes=3, width=1.5))
    save_network(model, tmp_path, **FACTS, width=1.5)
    assert torch.equal(load_network(tmp_path)(IMAGES), model(IMAGES))


def test_copies(folder) -> None:
    loaded = load_network(folder)
    for copied in (copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert torch.equal(copied(IMAGES), loaded(IMAGES))
        assert (copied.config, copied.card) == (loaded.config, loaded.card)


def test_nothing_else_is_touched(tmp_path) -> None:
    """Modes, and the caller's random numbers, are as they were."""
    model = host().train()
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    before = torch.random.get_rng_state()
    save_network(model, tmp_path, **FACTS)
    load_network(tmp_path)
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_normalise(folder, tmp_path) -> None:
    images = torch.randint(0, 256, (2, 3, 9, 12), dtype=torch.uint8)
    wanted = torch.stack([(images[:, i] / 255 - (0.1, 0.2, 0.3)[i]) / (0.4, 0.5, 0.6)[i] for i in range(3)], 1)
    torch.testing.assert_close(load_network(folder).normalise(images), wanted)
    save_network(host(), tmp_path / "unknown", **FACTS)
    with pytest.raises(HostError) as found:
        load_network(tmp_path / "unknown").normalise(images)
    assert str(found.value) == (
        "normalise(images): this network's config has no mean and std\n  fix: normalise as in its training"
    )


def test_the_card(folder, tmp_path) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith('---\nlibrary_name: "whatwhere"\npipeline_tag: "image-classification"\n')
    assert "# resnet8 with BAM\n" in card
    assert "| layer1.0 | `BAM(16)` |" in card
    assert "Classes: a, b, c." in card
    assert "## How it was trained\n\nThis was not recorded.\n" in card
    assert "Nothing is recorded of what it was trained on, nor of how well it does." in card
    save_network(host(), tmp_path, **FACTS, trained="On *scenes*, n = 3.", classes=("a|b", "<i>", "c"))
    card = (tmp_path / "README.md").read_text()
    assert "## How it was trained\n\nOn *scenes*, n = 3.\n" in card
    assert r"Classes: a\|b, \<i\>, c." in card


def refused(call, folder) -> list[str]:
    with pytest.raises(HostError) as found:
        call()
    return str(found.value).replace(str(folder.parent), "").splitlines()


def test_gates_of_other_libraries(tmp_path) -> None:
    model = host(lambda channels: nn.BatchNorm2d(channels), at="bottlenecks")
    assert refused(lambda: save_network(model, tmp_path / "net", **FACTS), tmp_path / "net") == [
        "save_network(ResNet, '/net', host='resnet8'): a config.json cannot hold the BatchNorm2d at 'layer1.0', for "
        "only this package's gates can be built again from it; nothing was written",
        "  got: torch.nn.modules.batchnorm.BatchNorm2d",
        "  fix: save_gates(model, folder) keeps its tensors, for a network that your code builds",
    ]
    assert not (tmp_path / "net").exists()


def test_a_network_that_is_not_what_its_config_builds(tmp_path) -> None:
    fix = "  fix: save a network as hosts.build made it, with gates that attach_ put in and nothing else changed"
    target = tmp_path / "net"
    call = "save_network(ResNet, '/net', host='resnet8')"
    other = hosts.build("resnet20", num_classes=3)
    assert refused(lambda: save_network(other, target, **FACTS), target) == [
        f"{call}: the network is not what its config builds; nothing was written",
        "  got: 'layer1.1.conv1.weight' is floating (16, 16, 3, 3), and missing by the config",
        fix,
    ]
    changed = host()
    changed.relu = nn.Sigmoid()
    first, got, last = refused(lambda: save_network(changed, target, **FACTS), target)
    assert first == (
        f"{call}: the network has the tensors that its config builds and computes something else; nothing was written"
    )
    assert got.startswith("  got: logits up to ")
    assert last == fix
    with ww.disabled(host()) as off:
        assert refused(lambda: save_network(off, target, **FACTS), target) == [
            f"{call}: a gate is switched off; nothing was written",
            "  fix: save it outside disabled(model)",
        ]
    assert refused(lambda: save_network(host(), target, **{**FACTS, "in_channels": 1}), target)[1].startswith(
        "  got: 'conv1.weight' is floating (16, 3, 3, 3), and floating (16, 1, 3, 3) by the config"
    )
    assert not target.exists()


def test_gates_that_were_taken_out_since(folder) -> None:
    loaded = load_network(folder)
    ww.detach_(loaded.network)
    assert refused(lambda: loaded.save(folder), folder)[0] == (
        "GatedNetwork.save('/net'): its gates are not those of its config; nothing was written"
    )


def test_anothers_files_are_left_alone(tmp_path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "README.md").write_text("mine")
    assert refused(lambda: save_network(host(), tmp_path / "net", **FACTS), tmp_path / "net") == [
        "save_network(ResNet, '/net', host='resnet8'): the folder holds something else, and its README.md would be "
        "overwritten; nothing was written",
        "  fix: name a new folder",
    ]
    assert (tmp_path / "net" / "README.md").read_text() == "mine"


def test_a_target_that_is_a_file(tmp_path) -> None:
    (tmp_path / "net").write_text("")
    first, got, fix = refused(lambda: save_network(host(), tmp_path / "net", **FACTS), tmp_path / "net")
    assert first == "save_network(ResNet, '/net', host='resnet8'): model.safetensors cannot be written"
    assert got in ("  got: File exists", "  got: Not a directory")
    assert fix == "  fix: move away what stands in the place of a file or folder, or choose another"


def edit(folder, **changes) -> None:
    path = folder / "config.json"
    value = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: part for name, part in value.items() if part is not ...}))


GATE = {"gate": "BAM", "config": {"channels": 16}, "side": "output"}
BAD = {
    "other library": ({"library_name": "timm"}, "config.json is not of a network that this package saved"),
    "format": ({"format": 2}, "config.json is of another format"),
    "no host": ({"host": ...}, "config.json lacks 'host'"),
    "unknown host": ({"host": "resnet9"}, "the host cannot be built: build('resnet9', num_classes=3, stem='small'): "),
    "path": ({"host": "../../etc/passwd"}, "the host cannot be built: build('../../etc/passwd', "),
    "repository": ({"host": "timm/hf-hub:evil/net"}, "the host cannot be built: build('timm/hf-hub:evil/net', "),
    "number": ({"host": 3}, "config.json cannot be: NetworkConfig(host=3): host is a network's name, "),
    "classes": ({"num_classes": 10**12}, "config.json cannot be: NetworkConfig(num_classes=1000000000000): "),
    "true": ({"num_classes": True}, "config.json cannot be: NetworkConfig(num_classes=True): "),
    "size": ({"image_size": [32]}, "config.json cannot be: NetworkConfig(image_size=[32]): image_size is rows and "),
    "width": ({"width": 1e300}, "config.json cannot be: NetworkConfig(width=1e+300): width is a positive number"),
    "names": (
        {"classes": ["a"]},
        "config.json cannot be: NetworkConfig(classes=...): there must be 3 of them, or none",
    ),
    "newline": ({"classes": ["a", "b", "c\n# c"]}, "config.json cannot be: NetworkConfig(classes=['a', 'b', "),
    "std": ({"std": [0, 1, 1]}, "config.json cannot be: NetworkConfig(std=[0, 1, 1]): std is a positive number for "),
    "stem": ({"stem": "__import__"}, "config.json cannot be: NetworkConfig(stem='__import__'): stem is 'standard' or "),
    "site": ({"gates": {"../layer1": GATE}}, "'resnet8' has no module '../layer1' for a gate"),
    "gate": ({"gates": {"layer1": {**GATE, "gate": "os.system"}}}, "there is no gate 'os.system'"),
    "dunder": ({"gates": {"layer1": {**GATE, "gate": "__class__"}}}, "there is no gate '__class__'"),
    "option": (
        {"gates": {"layer1": {**GATE, "config": {"channels": 16, "x": 1}}}},
        "the BAM at 'layer1' cannot be built",
    ),
    "value": ({"gates": {"layer1": {**GATE, "config": {"channels": 0}}}}, "the BAM at 'layer1' cannot be built"),
    "huge": (
        {"gates": {"layer1": {**GATE, "config": {"channels": 10**9}}}},
        "config.json cannot be: NetworkConfig(gates=",
    ),
    "deep": (
        {"gates": {"layer1": {**GATE, "config": {"channels": [[1]]}}}},
        "config.json cannot be: NetworkConfig(gates=",
    ),
    "side": ({"gates": {"layer1": {**GATE, "side": "up"}}}, "config.json cannot be: NetworkConfig(gates="),
    "list": ({"gates": ["layer1"]}, "config.json cannot be: NetworkConfig(gates=['layer1']): "),
    "fewer": ({"num_classes": 4, "classes": []}, "the tensors are not those of the network in config.json"),
    "no gates": ({"gates": {}}, "the tensors are not those of the network in config.json"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_configs_that_cannot_be(changes, said, folder) -> None:
    edit(folder, **changes)
    first = refused(lambda: load_network(folder), folder)[0]
    assert first.startswith(f"load_network('/net'): {said}")


def test_tensors_of_other_shapes(folder) -> None:
    tensors = load_file(folder / "model.safetensors")
    packed = save({**tensors, "fc.weight": torch.zeros(3, 65)})
    (folder / "model.safetensors").write_bytes(packed)
    assert refused(lambda: load_network(folder), folder) == [
        "load_network('/net'): model.safetensors is not the file that config.json was written with",
        "  fix: fetch or save both again",
    ]
    edit(folder, tensors=hashlib.sha256(packed).hexdigest())
    assert refused(lambda: load_network(folder), folder) == [
        "load_network('/net'): the tensors are not those of the network in config.json",
        "  got: 'fc.weight' is floating (3, 65), and floating (3, 64) by the config",
        "  fix: fetch or save the folder again, whole",
    ]


def test_damaged_files(folder) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    first, _, fix = refused(lambda: load_network(folder), folder)
    assert (first, fix) == ("load_network('/net'): model.safetensors is damaged", "  fix: fetch or save it again")
    (folder / "model.safetensors").unlink()
    assert refused(lambda: load_network(folder), folder) == [
        "load_network('/net'): there is no saved network in that folder",
        "  got: no model.safetensors",
        "  fix: save_network writes one",
    ]
    (folder / "config.json").write_text("{")
    assert refused(lambda: load_network(folder), folder)[0] == "load_network('/net'): config.json is damaged"
    (folder / "config.json").write_text("[" * 100_000)
    assert refused(lambda: load_network(folder), folder)[0] == "load_network('/net'): config.json is damaged"


def test_a_fresh_one_from_a_config() -> None:
    config = NetworkConfig("resnet8", 3, (9, 12))
    assert GatedNetwork(config)(IMAGES).shape == (2, 3)
    assert GatedNetwork(config.to_json()).config == config
    with pytest.raises(HostError) as found:
        GatedNetwork({"host": "resnet8"})
    assert str(found.value) == "GatedNetwork(config): config.json is not of a network that this package saved"
