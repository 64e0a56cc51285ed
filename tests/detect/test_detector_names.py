"""Detectors by name: which there are, what may be asked of them, what is refused, and whose weights they take."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("torchvision")

from torchvision import models
from torchvision.models import WeightsEnum
from torchvision.ops import FrozenBatchNorm2d

from whatwhere.detect.building import build, names, skeleton
from whatwhere.errors import HostError

OWN = (
    "fasterrcnn-resnet18-fpn",
    "fasterrcnn-resnet50-fpn",
    "fasterrcnn-resnet101-fpn",
    "fasterrcnn-resnet50-c4",
    "fasterrcnn-resnet101-c4",
    "retinanet-resnet18-fpn",
    "retinanet-resnet50-fpn",
    "fcos-resnet18-fpn",
    "fcos-resnet50-fpn",
    "ssd300-vgg16",
    "ssd300-mobilenet",
    "stairnet300-vgg16",
    "stairnet300-mobilenet",
    "ssdlite320-mobilenet-v3",
    "ssd-resnet8",
)
SMALL = "retinanet-resnet18-fpn"


def norms(model: nn.Module) -> set[str]:
    kinds = (nn.BatchNorm2d, FrozenBatchNorm2d, nn.GroupNorm)
    return {type(module).__name__ for module in model.modules() if isinstance(module, kinds)}


def saved(state: dict[str, Tensor], path: Path) -> str:
    torch.save(state, path)
    return str(path)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(HostError) as caught:
        call()
    return str(caught.value)


def test_the_names() -> None:
    assert names()[: len(OWN)] == OWN
    rest = names()[len(OWN) :]
    assert "torchvision/fasterrcnn_resnet50_fpn" in rest
    assert all(name.startswith("torchvision/") for name in rest)
    assert not any("mask" in name or "keypoint" in name for name in rest)


@pytest.mark.parametrize("name", names())
def test_every_one_has_a_skeleton_and_leaves_random_numbers_alone(name: str) -> None:
    before = torch.get_rng_state()
    model = skeleton(name, 3)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ssd300-vgg16", 26_515_936),
        ("stairnet300-vgg16", 32_005_600),
        ("ssd300-mobilenet", 5_813_536),
        ("stairnet300-mobilenet", 5_977_376),
    ],
)
def test_parameters_of_the_papers_detectors(name: str, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in skeleton(name, 20).parameters()) == parameters


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ("fasterrcnn-resnet50-fpn", "fasterrcnn_resnet50_fpn"),
        ("retinanet-resnet50-fpn", "retinanet_resnet50_fpn"),
        ("fcos-resnet50-fpn", "fcos_resnet50_fpn"),
        ("ssdlite320-mobilenet-v3", "ssdlite320_mobilenet_v3_large"),
    ],
)
def test_where_torchvision_has_the_same_detector_tensors_are_its(own: str, theirs: str) -> None:
    with torch.device("meta"):
        other = models.get_model(theirs, weights=None, weights_backbone=None, num_classes=4)
    assert shapes(skeleton(own, 3)) == shapes(other) == shapes(skeleton(f"torchvision/{theirs}", 3))


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


# --- options ---


def test_norms_by_name(tmp_path: Path) -> None:
    assert norms(skeleton(SMALL, 2)) == {"BatchNorm2d"}
    assert norms(skeleton(f"{SMALL}:norm=group", 2)) == {"GroupNorm"}
    assert norms(skeleton(f"{SMALL}:weights=imagenet", 2)) == {"FrozenBatchNorm2d"}
    assert norms(skeleton(f"{SMALL}:weights=imagenet:norm=batch", 2)) == {"BatchNorm2d"}
    assert norms(skeleton("torchvision/fasterrcnn_resnet50_fpn_v2:weights=coco", 2)) == {"BatchNorm2d"}
    groups = [m for m in skeleton("ssdlite320-mobilenet-v3:norm=group", 2).modules() if isinstance(m, nn.GroupNorm)]
    assert {module.num_groups for module in groups} <= {8, 16, 32}


@pytest.mark.parametrize(
    ("trainable", "learning"),
    [
        (":trainable=0", set()),
        ("", {"layer2", "layer3", "layer4"}),
        (":trainable=4", {"layer1", "layer2", "layer3", "layer4"}),
        (":norm=batch:trainable=5", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
@pytest.mark.parametrize("name", ["fasterrcnn-resnet18-fpn", "fasterrcnn-resnet50-c4"])
def test_the_first_parts_of_a_resnet_stay_as_they_are(name: str, trainable: str, learning: set[str]) -> None:
    model = skeleton(f"{name}:weights=imagenet{trainable}", 2)
    parts = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    found = {
        next((part for part in parameter.split(".") if part in parts), "else")
        for parameter, tensor in model.named_parameters()
        if tensor.requires_grad
    }
    assert found == learning | {"else"}


def test_image_sizes() -> None:
    pyramid: Any = skeleton(SMALL, 2)
    assert (pyramid.transform.min_size, pyramid.transform.max_size) == ((800,), 1333)
    with torch.device("meta"):
        pyramid = build(SMALL, 2, image_size=300)
        single: Any = build("ssd300-mobilenet", 2, image_size=128)
        theirs: Any = build("torchvision/ssd300_vgg16", 2, image_size=320)
    assert (pyramid.transform.min_size, pyramid.transform.max_size) == ((300,), 500)
    assert (single.transform.fixed_size, single.anchor_generator.steps) == ((128, 128), None)
    assert (theirs.transform.fixed_size, theirs.anchor_generator.steps) == ((320, 320), None)
    assert skeleton("torchvision/ssd300_vgg16", 2).anchor_generator.steps is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ssd300-vgg",
            "build('ssd300-vgg', 2): no such detector\n"
            "  closest: 'ssd300-vgg16', 'stairnet300-vgg16', 'ssd300-mobilenet'\n"
            f"  fix: one of {', '.join(names())}",
        ),
        (
            "torchvision/maskrcnn_resnet50_fpn",
            "build('torchvision/maskrcnn_resnet50_fpn', 2): no such detector\n"
            "  closest: 'torchvision/fasterrcnn_resnet50_fpn', 'torchvision/fasterrcnn_resnet50_fpn_v2', "
            "'torchvision/fcos_resnet50_fpn'\n"
            f"  fix: one of {', '.join(names())}",
        ),
        (
            "ssd-resnet8:norms=group",
            "build('ssd-resnet8:norms=group', 2): a detector has no option 'norms'\n"
            "  closest: 'norm'\n  fix: one of norm, weights, trainable",
        ),
        (
            "ssd-resnet8:group",
            "build('ssd-resnet8:group', 2): 'group' sets nothing\n  fix: write name:option=value:option=value",
        ),
        (
            "ssd-resnet8:norm=group:norm=batch",
            "build('ssd-resnet8:norm=group:norm=batch', 2): norm is set twice\n  got: 'group' and 'batch'",
        ),
        (
            "ssd-resnet8:norm=groups",
            "build('ssd-resnet8:norm=groups', 2): a norm is batch, frozen or group\n  closest: 'group'",
        ),
        (
            "ssd-resnet8:norm=frozen",
            "build('ssd-resnet8:norm=frozen', 2): norms can be frozen once weights were loaded\n"
            "  fix: norm=group, or weights",
        ),
        (
            "ssd300-vgg16:norm=group",
            "build('ssd300-vgg16:norm=group', 2): there are no norms in its layers",
        ),
        (
            "stairnet300-vgg16:weights=imagenet:norm=frozen",
            "build('stairnet300-vgg16:weights=imagenet:norm=frozen', 2): there are no norms in its trunk",
        ),
        (
            "ssd300-mobilenet:weights=imagenet",
            "build('ssd300-mobilenet:weights=imagenet', 2): torchvision publishes no weights of its trunk\n"
            "  fix: weights=FILE, weights=none",
        ),
        (
            "ssdlite320-mobilenet-v3:weights=imagenet",
            "build('ssdlite320-mobilenet-v3:weights=imagenet', 2): torchvision publishes no weights of its trunk\n"
            "  fix: weights=coco, weights=FILE, weights=none",
        ),
        (
            "fasterrcnn-resnet50-c4:weights=coco",
            "build('fasterrcnn-resnet50-c4:weights=coco', 2): torchvision publishes no weights of this detector\n"
            "  fix: weights=imagenet, weights=FILE, weights=none",
        ),
        (
            "ssd-resnet8:trainable=3",
            "build('ssd-resnet8:trainable=3', 2): trainable counts the parts of a ResNet, which its trunk is not",
        ),
        (
            f"{SMALL}:weights=imagenet:trainable=6",
            f"build('{SMALL}:weights=imagenet:trainable=6', 2): trainable is a number from 0 to 5",
        ),
        (
            f"{SMALL}:trainable=3",
            f"build('{SMALL}:trainable=3', 2): without weights all parts have to learn\n"
            "  fix: leave trainable out, or weights",
        ),
        (
            "ssd-resnet8:weights=nowhere.pth",
            "build('ssd-resnet8:weights=nowhere.pth', 2): there is no such file\n"
            "  got: nowhere.pth\n  fix: none, imagenet, coco or a file",
        ),
    ],
)
def test_refusals(name: str, message: str) -> None:
    built = build if "nowhere" in name else skeleton
    assert refusal(lambda: built(name, 2)) == message


def test_refused_numbers() -> None:
    assert refusal(lambda: build("ssd-resnet8", 0)) == "build('ssd-resnet8', 0): classes must be at least 1"
    assert refusal(lambda: build("ssd300-vgg16", 2, image_size=259)) == (
        "build('ssd300-vgg16', 2, image_size=259): its images are at least 260 pixels a side"
    )


# --- weights ---


@pytest.mark.parametrize(
    ("name", "trunk"),
    [(SMALL, "resnet18"), ("fasterrcnn-resnet50-c4", "resnet50")],
)
def test_a_file_of_the_trunk(name: str, trunk: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = models.get_model(trunk, weights=None)
    with torch.no_grad():
        other.get_parameter("layer4.1.conv1.weight").fill_(3)
    model = build(f"{name}:weights={saved(other.state_dict(), tmp_path / 'trunk.pth')}", 2)
    own = model.state_dict()
    placed = {key.split("body.")[-1].split("box_head.")[-1].removeprefix("backbone."): own[key] for key in own}
    for key, tensor in other.state_dict().items():
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked"):
            assert torch.equal(placed[key], tensor), key
    assert "FrozenBatchNorm2d" in norms(model)


def test_a_file_of_the_whole_detector(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = build("ssd-resnet8", 2)
    path = saved(first.state_dict(), tmp_path / "all.pth")
    second = build(f"ssd-resnet8:weights={path}", 2)
    assert all(torch.equal(second.state_dict()[key], tensor) for key, tensor in first.state_dict().items())
    without = build(f"ssd-resnet8:weights={path}", 2, weights=False)
    assert not torch.equal(without.get_parameter("head.0.logits.weight"), first.get_parameter("head.0.logits.weight"))
    said = refusal(lambda: build(f"ssd-resnet8:weights={path}", 1))
    assert said == (
        f"build('ssd-resnet8:weights={path}', 1): all.pth does not fit\n"
        "  got: of another shape: "
        "head.0.logits.bias [12] for [8], head.0.logits.weight [12, 32, 3, 3] for [8, 32, 3, 3], "
        "head.1.logits.bias [12] for [8], head.1.logits.weight [12, 64, 3, 3] for [8, 64, 3, 3], "
        "head.2.logits.bias [12] for [8], head.2.logits.weight [12, 128, 3, 3] for [8, 128, 3, 3]\n"
        "  fix: weights of this very trunk or detector"
    )


def test_a_file_that_lacks_one_tensor_and_has_one_more(tmp_path: Path) -> None:
    state = models.resnet18(weights=None).state_dict()
    state["layer9.weight"] = state.pop("layer2.0.conv1.weight")
    path = saved(state, tmp_path / "odd.pth")
    assert refusal(lambda: build(f"{SMALL}:weights={path}", 2)) == (
        f"build('{SMALL}:weights={path}', 2): odd.pth does not fit\n"
        "  got: missing: backbone.body.layer2.0.conv1.weight; unknown: backbone.body.layer9.weight\n"
        "  fix: weights of this very trunk or detector"
    )


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "text.pth"
    path.write_text("no weights")
    said = refusal(lambda: build(f"ssd-resnet8:weights={path}", 2))
    assert said.startswith(f"build('ssd-resnet8:weights={path}', 2): text.pth cannot be read\n  got: ")
    torch.save({"model": {}, "epoch": 3}, path)
    assert refusal(lambda: build(f"ssd-resnet8:weights={path}", 2)) == (
        f"build('ssd-resnet8:weights={path}', 2): text.pth is no state dict\n"
        "  got: a dict of model, epoch\n  fix: torch.save(model.state_dict(), ...), or safetensors"
    )


def test_published_weights_and_none_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    theirs = models.get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=91)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *args, **kwargs: theirs.state_dict())
    model = build("ssdlite320-mobilenet-v3:weights=coco", 2)
    own = model.state_dict()
    fresh = {key for key, tensor in theirs.state_dict().items() if own[key].shape != tensor.shape}
    last = [f"head.classification_head.module_list.{scale}.1" for scale in range(6)]
    assert fresh == {f"{name}.{part}" for name in last for part in ("weight", "bias")}
    assert all(torch.equal(own[key], tensor) for key, tensor in theirs.state_dict().items() if key not in fresh)

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no network\nat all")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
    for weights, name in (("coco", "ssdlite320-mobilenet-v3"), ("imagenet", SMALL)):
        assert refusal(lambda name=name, weights=weights: build(f"{name}:weights={weights}", 2)) == (
            f"build('{name}:weights={weights}', 2): the published weights could not be fetched\n"
            "  got: no network\n  fix: weights=FILE with a checkpoint file copied here, or weights=none"
        )


def test_frozen_norms_are_the_batch_norms_of_eval_mode(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = build(SMALL, 2)
    for module in first.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    path = saved(first.state_dict(), tmp_path / "all.pth")
    frozen = build(f"{SMALL}:weights={path}", 2).train()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), warnings.catch_warnings():
        expected, found = first.eval().backbone(x), frozen.backbone(x)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor)
