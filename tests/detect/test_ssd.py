"""How detectors behave in both modes, and what is special to SSD, StairNet and Faster R-CNN without a pyramid."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("torchvision")

from whatwhere.detect.building import build, skeleton

RCNN = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
SINGLE = {"bbox_regression", "classification"}
FAMILIES = {
    "fasterrcnn-resnet18-fpn": RCNN,
    "retinanet-resnet18-fpn": SINGLE,
    "fcos-resnet18-fpn": SINGLE | {"bbox_ctrness"},
    "ssd300-mobilenet": SINGLE,
    "stairnet300-mobilenet": SINGLE,
    "ssdlite320-mobilenet-v3": SINGLE,
    "ssd-resnet8": SINGLE,
}


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images of two sizes, one of them without objects."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 50, 70, generator=generator), torch.rand(3, 64, 64, generator=generator)]
    some = {"boxes": torch.tensor([[5.0, 5.0, 40.0, 45.0]]), "labels": torch.tensor([2])}
    return images, [some, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}]


def check_both_modes(model: nn.Module, losses: set[str]) -> None:
    images, targets = batch()
    found = model(images, targets)
    assert set(found) == losses
    total = sum(found.values())
    assert torch.isfinite(total)
    total.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    with torch.no_grad():
        said = model.eval()(images)
    assert len(said) == 2
    for one, image in zip(said, images, strict=True):
        count = len(one["labels"])
        assert (one["boxes"].shape, one["scores"].shape) == ((count, 4), (count,))
        assert ((one["labels"] >= 1) & (one["labels"] <= 3)).all()
        assert (one["boxes"] >= 0).all()
        assert (one["boxes"] <= torch.tensor([*image.shape[:0:-1]] * 2)).all()


def built(name: str) -> Any:
    """On small images, and with fewer regions than it comes with, each of which costs a linear layer or a stage."""
    torch.manual_seed(0)
    model: Any = build(name, 3, image_size=64)
    if name.startswith("fasterrcnn"):
        model.rpn._post_nms_top_n = {"training": 4, "testing": 2}
    return model


@pytest.mark.parametrize("name", [*FAMILIES, "fasterrcnn-resnet50-c4"])
def test_both_modes(name: str) -> None:
    check_both_modes(built(name), FAMILIES.get(name, RCNN))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_without_any_object_trains(name: str) -> None:
    images, targets = batch()
    found = built(name)(images, [targets[1], targets[1]])
    assert all(torch.isfinite(loss) for loss in found.values())
    sum(found.values()).backward()


def test_the_same_seed_builds_the_same_detector() -> None:
    first, second = built("ssd-resnet8").state_dict(), built("ssd-resnet8").state_dict()
    assert all(torch.equal(second[key], tensor) for key, tensor in first.items())


# --- SSD and StairNet ---


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("ssd300-vgg16", [38, 19, 10, 5, 3, 1]),
        ("stairnet300-vgg16", [38, 19, 10, 5, 3, 1]),
        ("ssd300-mobilenet", [19, 10, 5, 3, 2, 1]),
        ("stairnet300-mobilenet", [19, 10, 5, 3, 2, 1]),
        ("ssd-resnet8", [75, 38, 19]),
    ],
)
def test_one_predictor_a_scale(name: str, sides: list[int]) -> None:
    model: Any = skeleton(name, 3).eval()
    maps = list(model.backbone(torch.empty(2, 3, 300, 300, device="meta")).values())
    assert [tuple(x.shape[2:]) for x in maps] == [(side, side) for side in sides]
    assert [x.shape[1] for x in maps] == [predictor.channels for predictor in model.head]
    counts = model.anchor_generator.num_anchors_per_location()
    for predictor, x, anchors in zip(model.head, maps, counts, strict=True):
        logits, offsets = predictor(x)
        boxes = x.shape[2] * x.shape[3] * anchors
        assert (tuple(logits.shape), tuple(offsets.shape)) == ((2, boxes, 4), (2, boxes, 4))


def test_other_image_sizes_of_vgg16() -> None:
    """Every scale meets the next one, whatever rounding did on the way down; one pixel less and a map is empty."""
    model: Any = skeleton("stairnet300-vgg16", 3).eval()
    for size in (260, 285, 299, 333, 512):
        assert len(model.backbone(torch.empty(1, 3, size, size, device="meta"))) == 6
    with pytest.raises(RuntimeError):
        model.backbone(torch.empty(1, 3, 259, 259, device="meta"))


@pytest.mark.parametrize(("name", "carried"), [("ssd300-mobilenet", False), ("stairnet300-mobilenet", True)])
def test_stairnet_alone_carries_the_coarsest_scale_to_the_finest(name: str, carried: bool) -> None:
    torch.manual_seed(0)
    model: Any = build(name, 3).eval()
    finest = model.head[0](model.backbone(torch.rand(1, 3, 128, 128))["0"])
    sum(part.sum() for part in finest).backward()
    trunk = model.backbone.trunk if carried else model.backbone
    gradient = trunk.extras[-1][2].weight.grad
    assert (gradient is not None and gradient.abs().sum().item() > 0) == carried


def test_predictions_and_anchors_are_in_one_order() -> None:
    """A predictor that answers at one position, for one anchor, moves the box that lies there."""
    model: Any = build("ssd-resnet8", 1).eval()
    head = model.head[2]
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
    x = torch.zeros(1, 128, 6, 6)
    x[0, 0, 1, 4] = 1  # row 1, column 4
    with torch.no_grad():
        head.logits.weight[3 * 2 + 1, 0, 1, 1] = 1  # of the fourth anchor, class 1
        logits, _ = head(x)
    where = int(logits[0, :, 1].argmax())
    assert logits[0, :, 1].count_nonzero() == 1
    assert where == (1 * 6 + 4) * 4 + 3
    from torchvision.models.detection.image_list import ImageList

    maps = [torch.zeros(1, 1, side, side) for side in (24, 12, 6)]
    anchors = model.anchor_generator(ImageList(torch.zeros(1, 3, 96, 96), [(96, 96)]), maps)[0]
    box = anchors[(24 * 24 + 12 * 12) * 4 + where]
    assert ((box[:2] + box[2:]) / 2).tolist() == pytest.approx([(4 + 0.5) * 16, (1 + 0.5) * 16])
    assert float((box[3] - box[1]) / (box[2] - box[0])) == pytest.approx(2)  # the upright one of ratio 2


# --- Faster R-CNN without a pyramid ---


def test_proposals_come_from_stride_16_and_regions_pass_the_last_stage() -> None:
    model: Any = skeleton("fasterrcnn-resnet101-c4", 80).eval()
    x = model.backbone(torch.empty(1, 3, 96, 64, device="meta"))
    assert tuple(x.shape) == (1, 1024, 6, 4)
    logits, offsets = model.rpn.head([x])
    assert (tuple(logits[0].shape), tuple(offsets[0].shape)) == ((1, 12, 6, 4), (1, 48, 6, 4))
    regions = model.roi_heads.box_head(torch.empty(7, 1024, 14, 14, device="meta"))
    assert tuple(regions.shape) == (7, 2048)
    assert [tuple(part.shape) for part in model.roi_heads.box_predictor(regions)] == [(7, 81), (7, 324)]
    assert (model.transform.min_size, model.transform.max_size) == ((600,), 1000)
    assert (model.roi_heads.score_thresh, model.roi_heads.detections_per_img) == (0.05, 100)
