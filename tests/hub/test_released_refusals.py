"""Files that do not fit, are damaged or would run code: each refused by name, with the network as it was."""

import os
import re
from pathlib import Path

import pytest
import torch
from released_networks import ReleasedResNet
from torch import nn

import whatwhere as ww
from whatwhere import hosts
from whatwhere.errors import AttachError
from whatwhere.hub import load_released


def host(depth=18, classes=10, gate="cbam:preset=released", at="blocks", **options) -> nn.Module:
    model = hosts.build(f"torchvision/resnet{depth}", num_classes=classes)
    if gate:
        ww.attach_(model, gate, at=at, **options)
    return model


@pytest.fixture(scope="module")
def states() -> dict:
    return {gate: ReleasedResNet(18, gate).state_dict() for gate in ("bam", "cbam", None)}


def refused(model, file: Path, content: object = None) -> list[str]:
    """The message, less the folder; the network is as it was, to the bit."""
    if content is not None:
        torch.save(content, file)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(AttachError) as found:
        load_released(model, file)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    return str(found.value).replace(f"{file.parent}/", "").splitlines()


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


def test_a_file_that_would_run_code(states, tmp_path) -> None:
    evidence = tmp_path / "it-ran"
    content = {"state_dict": states["cbam"], "extra": _Runs(evidence)}
    assert refused(host(), tmp_path / "evil.pth", content) == [
        "load_released(ResNet, 'evil.pth'): the file asks for more than tensors and plain values, which could run "
        "code; nothing of it was run and nothing was changed",
        f"  got: {os.system.__module__}.system",
        "  fix: do not trust where it came from; its maker can save network.state_dict() alone",
    ]
    assert not evidence.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # it is a real one
    assert evidence.exists()


def test_a_whole_network_in_a_pickle(tmp_path) -> None:
    assert refused(host(), tmp_path / "model.pth", nn.Linear(2, 2))[1] == "  got: torch.nn.modules.linear.Linear"


def test_no_file(tmp_path) -> None:
    (tmp_path / "RESNET18_CBAM.pth").touch()
    assert refused(host(), tmp_path / "RESNET18-CBAM.pth") == [
        "load_released(ResNet, 'RESNET18-CBAM.pth'): there is no such file; nothing was changed",
        "  closest: 'RESNET18_CBAM.pth'",
    ]


@pytest.mark.parametrize("kind", ["cut", "half", "text", "nothing", "safetensors"])
def test_a_damaged_file(kind, states, tmp_path) -> None:
    file = tmp_path / ("bad.safetensors" if kind == "safetensors" else "bad.pth")
    torch.save(states["cbam"], tmp_path / "whole.pth", _use_new_zipfile_serialization=kind != "cut")
    whole = (tmp_path / "whole.pth").read_bytes()
    file.write_bytes({"cut": whole[:-9], "half": whole[: len(whole) // 2], "text": b"hello world"}.get(kind, b""))
    first, got, fix = refused(host(), file)
    assert first == f"load_released(ResNet, '{file.name}'): the file is damaged, or no checkpoint; nothing was changed"
    assert got.startswith("  got: ")
    assert fix == "  fix: fetch or copy it again, and compare its size with the original's"


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ([1, 2], "list"),
        ({}, "an empty dict"),
        ({"epoch": 3, "fc.weight": torch.zeros(1)}, "int at 'epoch'"),
        ({"fc.weight": torch.zeros(2, 2).to_sparse()}, "Tensor at 'fc.weight'"),
    ],
    ids=["list", "empty", "number", "sparse"],
)
def test_no_state_dict(content, got, tmp_path) -> None:
    assert refused(host(), tmp_path / "odd.pth", content) == [
        "load_released(ResNet, 'odd.pth'): the file holds no state dict; nothing was changed",
        f"  got: {got}",
        "  fix: give the file that torch.save(network.state_dict(), path) wrote, or one with it under 'state_dict'",
    ]


def test_no_gates_in_the_file(states, tmp_path) -> None:
    assert refused(host(), tmp_path / "plain.pth", states[None]) == [
        "load_released(ResNet, 'plain.pth'): the file has no gates under a name that the released code, pytorchcv or "
        "timm gives them; nothing was changed",
        "  got: 122 tensors, the first 'conv1.weight'",
        "  fix: a host's own checkpoint loads with model.load_state_dict, gates attached or not",
    ]


def test_another_depth(tmp_path) -> None:
    state = ReleasedResNet(50, "cbam", classes=1000).state_dict()
    assert refused(host(), tmp_path / "r50.pth", state) == [
        "load_released(ResNet, 'r50.pth'): the file is of another network; nothing was changed",
        "  got: blocks (3, 4, 6, 3) of 3 convolutions in the file, blocks (2, 2, 2, 2) of 2 convolutions in the "
        "network",
        "  fix: whatwhere.hosts.build('torchvision/resnet50', num_classes=1000)",
    ]


def test_no_resnet(states, tmp_path) -> None:
    model = hosts.build("torchvision/squeezenet1_1", num_classes=10)
    assert refused(model, tmp_path / "a.pth", states["cbam"])[1] == (
        "  got: blocks (2, 2, 2, 2) of 2 convolutions in the file, no blocks of a ResNet in the network"
    )


def test_another_number_of_classes(states, tmp_path) -> None:
    assert refused(host(classes=100), tmp_path / "a.pth", states["cbam"]) == [
        "load_released(ResNet, 'a.pth'): the file's classifier has another number of classes; nothing was changed",
        "  got: 10 in the file, 100 in the network",
        "  fix: build the host with the file's number, load, then put a classifier of your own in its place",
    ]


def test_another_stem(tmp_path) -> None:
    state = ReleasedResNet(18, "cbam", small=True).state_dict()
    assert refused(host(), tmp_path / "a.pth", state) == [
        "load_released(ResNet, 'a.pth'): the file's tensors are not those of the network; nothing was changed",
        "  got: 'conv1.weight' is float32 (64, 3, 3, 3) in the file and float32 (64, 3, 7, 7) in the network",
        "  fix: whatwhere.hosts.build('torchvision/resnet18', num_classes=10, stem='small')",
    ]


def test_a_tensor_missing_and_one_too_many(states, tmp_path) -> None:
    lacking = {key: value for key, value in states["cbam"].items() if key != "layer3.0.bn1.running_var"}
    assert refused(host(), tmp_path / "a.pth", lacking)[1:] == [
        "  got: 'layer3.0.bn1.running_var' is nothing in the file and float32 (256,) in the network",
        "  fix: whatwhere.hosts.build('torchvision/resnet18', num_classes=10)",
    ]
    renamed = {**lacking, "layer3.0.bn1.running_variance": torch.zeros(256)}
    assert refused(host(), tmp_path / "a.pth", renamed)[2] == "  closest: 'layer3.0.bn1.running_variance'"
    surplus = {**states["cbam"], "fc2.weight": torch.zeros(3, 3)}
    assert refused(host(), tmp_path / "a.pth", surplus)[1] == (
        "  got: 'fc2.weight' is float32 (3, 3) in the file and nothing in the network"
    )


def test_another_kind_of_number(states, tmp_path) -> None:
    odd = {**states["cbam"], "fc.bias": torch.zeros(10, dtype=torch.int64)}
    assert refused(host(), tmp_path / "a.pth", odd)[1] == (
        "  got: 'fc.bias' is int64 (10,) in the file and float32 (10,) in the network"
    )


def test_no_gates_in_the_network(states, tmp_path) -> None:
    assert refused(host(gate=None), tmp_path / "a.pth", states["cbam"]) == [
        "load_released(ResNet, 'a.pth'): the network carries no gates, and the file has 8; nothing was changed",
        "  fix: attach_(model, 'cbam:preset=released', at='blocks')",
    ]
    assert refused(host(gate=None), tmp_path / "b.pth", states["bam"])[1] == (
        "  fix: attach_(model, 'bam:preset=released', at='bottlenecks')"
    )


@pytest.mark.parametrize(
    ("gate", "options", "said"),
    [
        ("cbam", {}, "CBAM(64)"),
        ("se", {}, "SE(64)"),
        ("cbam:preset=released:reduction=8", {}, "CBAM(64, preset='released', reduction=8)"),
        ("cbam:preset=released", {"start": "identity"}, "CBAM(64, preset='released', start='identity')"),
        (lambda channels: nn.BatchNorm2d(channels), {}, "BatchNorm2d(64, eps=1e-05, momentum=0.1, affine=True, ...)"),
    ],
    ids=["paper", "se", "reduction", "identity", "foreign"],
)
def test_other_gates(gate, options, said, states, tmp_path) -> None:
    first, got, fix = refused(host(gate=gate, **options), tmp_path / "a.pth", states["cbam"])
    assert first == "load_released(ResNet, 'a.pth'): the network's gates are not the file's; nothing was changed"
    if "..." not in said:
        assert got == f"  got: {said} at 'layer1.0.bn2', where the file has CBAM(64, preset='released')"
    assert fix == "  fix: detach_(model), then attach_(model, 'cbam:preset=released', at='blocks')"


def test_gates_elsewhere(states, tmp_path) -> None:
    fewer = host(at=r"layer[123].*\.bn2")
    assert refused(fewer, tmp_path / "a.pth", states["cbam"]) == [
        "load_released(ResNet, 'a.pth'): the network's gates stand elsewhere than the file's; nothing was changed",
        "  got: 8 gates in the file, 6 in the network, and none of these ends 'layer4.0'",
        "  fix: detach_(model), then attach_(model, 'cbam:preset=released', at='blocks')",
    ]
    more = host(gate="bam:preset=released", at=["layer1", "layer2", "layer3", "layer4"])
    assert refused(more, tmp_path / "b.pth", states["bam"])[1] == (
        "  got: 3 gates in the file, 4 in the network, and the file has none for that at 'layer4'"
    )


def test_hidden_units_that_differ_from_stage_to_stage(tmp_path) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model("seresnet18", num_classes=10).state_dict()
    assert refused(host(gate="se"), tmp_path / "a.pth", state)[1:] == [
        "  got: SE(64) at 'layer1.0.bn2', where the file has SE(64, reduction=8)",
        "  fix: detach_(model), then attach_(model, lambda channels: whatwhere.SE(channels, "
        "reduction={64: 8}.get(channels, 16)), at='blocks')",
    ]


def test_a_gate_that_lacks_a_tensor(states, tmp_path) -> None:
    key = "layer4.1.cbam.SpatialGate.spatial.bn.running_mean"
    lacking = {name: value for name, value in states["cbam"].items() if name != key}
    assert refused(host(), tmp_path / "a.pth", lacking) == [
        "load_released(ResNet, 'a.pth'): a gate of the file lacks a tensor, or has one that its kind has not; nothing "
        "was changed",
        "  got: 'spatial.norm_layer.running_mean' at 'layer4.1.bn2' is nothing in the file and float32 (1,) in the "
        "network",
        "  fix: fetch or copy the file again; if it is whole, its gates were built with other options",
    ]


@pytest.mark.parametrize("gate", ["bam", "cbam"])
def test_any_tensor_may_be_of_any_shape(gate, states, tmp_path) -> None:
    """Whatever is wrong, it is told as such: no other error, and nothing changed."""
    model = host(gate=f"{gate}:preset=released", at="bottlenecks" if gate == "bam" else "blocks")
    names = [name for name in states[gate] if not name.endswith("num_batches_tracked")]
    for name in [name for name in names if re.search(r"^conv1|^fc|layer2.0.conv|bam1.*weight|layer2.0.cbam", name)]:
        odd = torch.tensor(1.0) if len(name) % 2 else torch.zeros(1, 2, 6, 6)
        refused(model, tmp_path / "a.pth", {**states[gate], name: odd})


@pytest.mark.parametrize("key", ["bam9", "bam0", "layer9.0.cbam", "layer1.7.cbam"])
def test_gates_of_stages_that_are_not_there(key, states, tmp_path) -> None:
    gate = "bam" if "bam" in key and "cbam" not in key else "cbam"
    old = "bam3" if gate == "bam" else "layer4.1.cbam"
    moved = {name.replace(old, key): tensor for name, tensor in states[gate].items()}
    model = host(gate=f"{gate}:preset=released", at="bottlenecks" if gate == "bam" else "blocks")
    first, got = refused(model, tmp_path / "a.pth", moved)[:2]
    assert first.endswith("the network's gates stand elsewhere than the file's; nothing was changed")
    assert got.endswith(f"and none of these ends {'layer' + key[3:] if gate == 'bam' else key[:-5]!r}")


def test_a_kernel_that_no_gate_has(states, tmp_path) -> None:
    odd = {**states["cbam"], "layer1.0.cbam.SpatialGate.spatial.conv.weight": torch.zeros(1, 2, 6, 6)}
    assert refused(host(), tmp_path / "a.pth", odd) == [
        "load_released(ResNet, 'a.pth'): the file's gate for 'layer1.0.bn2' has shapes that no gate has; nothing was "
        "changed",
        "  got: CBAM(64, kernel_size=6): an even kernel cannot keep the size of the map",
    ]


def test_gates_of_a_kind_there_is_none_of_here(tmp_path) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model("resnet18", num_classes=10, block_args={"attn_layer": "eca"}).state_dict()
    assert refused(host(), tmp_path / "a.pth", state) == [
        "load_released(ResNet, 'a.pth'): the file's gates are none that this package has; nothing was changed",
        "  got: 'layer1.0.se.conv.weight' in the layout of timm",
        "  fix: it takes BAM, CBAM and SE as the released code, pytorchcv and timm build them by default",
    ]


def test_gates_of_two_kinds(states, tmp_path) -> None:
    both = {**states["cbam"], **{key: value for key, value in states["bam"].items() if key.startswith("bam")}}
    assert refused(host(), tmp_path / "a.pth", both) == [
        "load_released(ResNet, 'a.pth'): the file has gates of two kinds, and a call takes one; nothing was changed"
    ]


def test_a_host_with_its_stride_elsewhere(tmp_path) -> None:
    model = hosts.build("resnet50", num_classes=10)
    ww.attach_(model, "cbam:preset=released")
    state = ReleasedResNet(50, "cbam", small=True).state_dict()
    assert refused(model, tmp_path / "a.pth", state) == [
        "load_released(ResNet, 'a.pth'): the tensors fit and the outputs would not, for the stride of the file's "
        "blocks is in conv2 and that of the network's in conv1; nothing was changed",
        "  fix: whatwhere.hosts.build('torchvision/resnet50', num_classes=10, stem='small')",
    ]


def test_what_timms_legacy_networks_have_otherwise(tmp_path) -> None:
    timm = pytest.importorskip("timm")
    call = "load_released(ResNet, 'a.pth')"
    state = timm.create_model("legacy_seresnet50", num_classes=10).state_dict()
    model = host(50, gate="se")
    assert refused(model, tmp_path / "a.pth", state) == [
        f"{call}: the tensors fit and the outputs would not, for the first max-pool of timm's legacy_seresnet has "
        "other windows than the network's; nothing was changed",
        "  fix: model.maxpool = torch.nn.MaxPool2d(3, 2, ceil_mode=True)",
    ]
    model.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    assert refused(model, tmp_path / "a.pth", state) == [
        f"{call}: the tensors fit and the outputs would not, for the stride of the file's blocks is in conv1 and "
        "that of the network's in conv2; nothing was changed",
        "  fix: whatwhere.hosts.build('imagenet/resnet50', num_classes=10)",
    ]
    state = timm.create_model("legacy_seresnet18", num_classes=10).state_dict()
    assert refused(host(gate="se"), tmp_path / "a.pth", state) == [
        f"{call}: in timm's legacy_seresnet with blocks of two convolutions, gates read a ReLU that this host does not "
        "have; nothing was changed",
        "  fix: timm's seresnet of the same depth can be taken",
    ]


def test_a_network_without_memory(states, tmp_path) -> None:
    model = hosts.skeleton("torchvision/resnet18", num_classes=10)
    torch.save(states["cbam"], tmp_path / "a.pth")
    with pytest.raises(AttachError) as found:
        load_released(model, tmp_path / "a.pth")
    assert str(found.value) == (
        f"load_released(ResNet, '{tmp_path}/a.pth'): the network is on the meta device and has no memory to copy into\n"
        "  fix: build it on a real device, or model.to_empty(device='cpu') first"
    )
