"""Detectors by name: which there are, what may be asked of them, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("torchvision")

from named_detectors import SMALL, norms, refusal, shapes
from torchvision import models

from whatwhere.detect.building import build, names, skeleton

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
            "build('ssd-resnet8:norm=group:norm=batch', 2): norm is set twice\n  got: 'group' and 'batch'\n"
            "  fix: set it once",
        ),
        (
            "ssd-resnet8:norm=groups",
            "build('ssd-resnet8:norm=groups', 2): a norm is batch, frozen or group\n"
            "  got: 'groups'\n  closest: 'group'\n  fix: norm=batch, or leave it out",
        ),
        (
            "ssd-resnet8:norm=frozen",
            "build('ssd-resnet8:norm=frozen', 2): norms can be frozen once weights were loaded\n"
            "  fix: norm=group, or weights",
        ),
        (
            "ssd300-vgg16:norm=group",
            "build('ssd300-vgg16:norm=group', 2): there are no norms in its layers\n"
            "  got: norm=group\n  fix: leave norm out",
        ),
        (
            "stairnet300-vgg16:weights=imagenet:norm=frozen",
            "build('stairnet300-vgg16:weights=imagenet:norm=frozen', 2): there are no norms in its trunk\n"
            "  got: norm=frozen\n  fix: leave norm out",
        ),
        (
            "ssd300-mobilenet:weights=imagenet",
            "build('ssd300-mobilenet:weights=imagenet', 2): torchvision publishes no weights of its trunk\n"
            "  fix: weights=FILE, weights=none",
        ),
        (
            "fasterrcnn-resnet50-c4:weights=coco",
            "build('fasterrcnn-resnet50-c4:weights=coco', 2): torchvision publishes no weights of this detector\n"
            "  fix: weights=imagenet, weights=FILE, weights=none",
        ),
        (
            "ssd-resnet8:trainable=3",
            "build('ssd-resnet8:trainable=3', 2): trainable counts the parts of a ResNet, which its trunk is not\n"
            "  fix: leave trainable out",
        ),
        (
            f"{SMALL}:weights=imagenet:trainable=6",
            f"build('{SMALL}:weights=imagenet:trainable=6', 2): trainable is a number from 0 to 5\n"
            "  got: '6'\n  fix: trainable=3",
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
    assert refusal(lambda: build("ssd-resnet8", 0)) == (
        "build('ssd-resnet8', 0): classes must be at least 1\n"
        "  got: 0\n  fix: how many there are without the background"
    )
    assert refusal(lambda: build("ssd300-vgg16", 2, image_size=259)) == (
        "build('ssd300-vgg16', 2, image_size=259): its images are at least 260 pixels a side\n"
        "  got: 259\n  fix: image_size=260 or more"
    )
