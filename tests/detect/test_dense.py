"""What is counted of a detector: its trunk, pyramid and heads, at the size it works at."""

from types import SimpleNamespace

import pytest
import torch
from support.few_scenes import small_ssd
from torch import nn

from whatwhere.cost import measure
from whatwhere.detect import Dense, build, input_side


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        ("ssd-resnet8", 64, 64),
        ("ssd-resnet8", None, 96),
        ("ssdlite320-mobilenet-v3", None, 320),
    ],
)
def test_the_side_of_a_square_that_is_not_resized(name, size, side):
    model = build(name, 2, image_size=size).eval()
    assert input_side(model) == side
    batch, _ = model.transform([torch.rand(3, side, side)])
    assert batch.tensors.shape[-2:] == (side, side)


def test_the_side_of_a_detector_that_brings_the_shorter_side_to_a_length():
    transform = SimpleNamespace(fixed_size=None, min_size=(480, 600), max_size=1000)
    model = nn.Module()
    model.transform = transform
    assert input_side(model) == 480
    transform.fixed_size = (300, 320)
    assert input_side(model) == 300


def test_the_side_of_what_says_none():
    assert input_side(nn.Conv2d(3, 4, 1)) == 224


def test_an_ssd_gives_the_maps_of_its_heads():
    model = small_ssd().eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        maps = Dense(model)(images)
        expected = model.head(list(model.backbone(images).values()))
    assert set(maps) == {"bbox_regression", "cls_logits"}
    assert all(torch.equal(maps[name], expected[name]) for name in maps)
    assert maps["cls_logits"].shape[::2] == (2, 11)


class Trunk(nn.Conv2d):
    """One map and no names, as the plain trunk of a C4 detector."""


class ProposalHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 2, 1)

    def forward(self, maps):
        return [self.conv(one) for one in maps]


def test_of_two_stages_the_first_is_counted():
    model = nn.Module()
    model.backbone, model.rpn, model.roi_heads = Trunk(3, 4, 1), nn.Module(), nn.Linear(1000, 1000)
    model.rpn.head = ProposalHead()
    (only,) = Dense(model)(torch.rand(1, 3, 5, 6))
    assert only.shape == (1, 2, 5, 6)


def test_modules_are_shared_and_shapes_are_fixed():
    model = small_ssd()
    dense = Dense(model)
    assert dense.backbone is model.backbone
    assert {id(one) for one in dense.parameters()} == {id(one) for one in model.parameters()}
    whole, half = (measure(dense, (1, 3, side, side)).macs for side in (96, 48))
    assert whole > 3 * half
