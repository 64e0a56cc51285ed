"""What a detector finds and where its gates look: on the image and not on its padding, scored, and without a trace."""

import pytest
import torch
from support.detection_parts import made_objects, made_part
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from whatwhere.errors import DataError, HostError
from whatwhere.explain.boxes import objects_mask, on_image, part_of_map
from whatwhere.explain.detected import BoxedPicture
from whatwhere.explain.detecting import look_at, pictures_of
from whatwhere.gates import CBAM, SE, SpatialGate

CLASSES = ("cat", "dog", "bird")


def looks_at_light() -> SpatialGate:
    """A gate that raises what is bright."""
    gate = SpatialGate(3, kernel_size=1)
    nn.init.constant_(gate.conv.weight, 4.0)
    nn.init.constant_(gate.conv.bias, -4.0)
    return gate


class Detector(nn.Module):
    """Torchvision's transform before a gate at a quarter of the resolution; it finds one fixed thing."""

    def __init__(self, gate: nn.Module, transform: nn.Module | None = None, label: int = 2) -> None:
        super().__init__()
        if transform is not None:
            self.transform = transform
        self.pool, self.gate, self.heads = nn.AvgPool2d(4), gate, nn.ModuleList()
        self.weight, self.label = nn.Parameter(torch.ones(1)), label
        self.region = self.level = None

    def forward(self, images):
        assert not self.training
        x = self.transform(images)[0].tensors if hasattr(self, "transform") else torch.stack(images)
        x = self.gate(self.pool(x))
        if self.region is not None:
            self.region(x.expand(3, -1, -1, -1))
        if self.level is not None:
            self.level(x)
            self.level(x[..., ::2, ::2])
        boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]])
        return [{"boxes": boxes, "labels": torch.tensor([self.label, 1]), "scores": torch.tensor([0.2, 0.7])}]


def padding(side=64) -> GeneralizedRCNNTransform:
    return GeneralizedRCNNTransform(side, 2 * side, [0.0] * 3, [1.0] * 3, size_divisible=32)


def bright(height=100, width=150, box=(60, 20, 120, 80)) -> BoxedPicture:
    """Black but for one object."""
    pixels = torch.zeros(3, height, width, dtype=torch.uint8)
    x0, y0, x1, y1 = box
    pixels[:, y0:y1, x0:x1] = 255
    return BoxedPicture("bright", pixels, made_objects([box], [0]))


def looked(model, *pictures, **options):
    return look_at(model, pictures, CLASSES, name="made", **options)


def scores_of(detected, score):
    return {one.map: one for one in detected.scores if one.score == score}


def test_the_part_of_a_map_is_what_the_transform_did_not_pad():
    model = Detector(looks_at_light(), padding()).eval()
    assert part_of_map(model, torch.rand(3, 100, 150)) == (1.0, 96 / 96)
    assert part_of_map(model, torch.rand(3, 100, 130)) == (1.0, 83 / 96)
    assert part_of_map(model, torch.rand(3, 130, 100)) == (83 / 96, 1.0)
    assert part_of_map(nn.Linear(1, 1), torch.rand(3, 130, 100)) == (1.0, 1.0)


def test_a_whole_map_is_scaled_as_torch_scales_and_a_part_is_cut_first():
    positions = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    scaled = nn.functional.interpolate(positions[None, None], (30, 50), mode="bilinear", align_corners=False)[0, 0]
    assert torch.allclose(on_image(positions, (1.0, 1.0), (30, 50)), scaled, atol=1e-6)
    assert torch.allclose(on_image(positions, (0.5, 0.75), (3, 6)), positions[:3, :6], atol=1e-6)


def test_boxes_as_cells():
    objects = made_objects([[0, 0, 20, 10], [30, 30, 31, 31], [0, 20, 40, 40], [0, 0, 40, 40]], [0, 1, 2, 0],
                           crowd=[False, False, True, False], difficult=[False, False, False, True])  # fmt: skip
    mask = objects_mask(objects, (40, 40), (4, 4))
    assert mask.nonzero().tolist() == [[0, 0], [0, 1], [3, 3]]
    assert objects_mask(made_objects([[0, 0, 9, 9]], [0], crowd=[True]), (40, 40), (4, 4)) is None


def test_a_gate_that_looks_at_the_object_scores_high_on_a_padded_picture():
    for height, width in ((100, 150), (150, 100), (100, 130)):
        detected = looked(Detector(looks_at_light(), padding()), bright(height, width, (40, 30, 90, 80)))
        pointing, energy = scores_of(detected, "pointing"), scores_of(detected, "energy")
        chance = 2500 / (height * width)
        assert list(pointing) == ["gate", "the middle, always"]
        assert pointing["gate"].moments.mean == 1.0
        assert energy["gate"].moments.mean > 0.85
        assert energy["gate"].chance == pytest.approx(chance, rel=0.03)
        (sight,) = detected.sights
        cells = (round(height / min(height, width) * 16), round(width / min(height, width) * 16))
        assert sight.maps["gate"].shape == pytest.approx(cells, abs=1)


def test_a_gate_that_weighs_positions_alike_scores_chance():
    gate = CBAM(3, reduction=1, start="identity")
    detected = looked(Detector(gate, padding()), bright(), bright(150, 100, (0, 0, 30, 30)))
    for score in ("pointing", "energy", "iou"):
        one = scores_of(detected, score)["gate"]
        assert one.moments.n == 2
        assert one.moments.mean == pytest.approx(one.chance)
        assert one.moments.low <= one.moments.mean <= one.moments.high


def test_what_was_found_is_sorted_and_counts_from_0():
    (sight,) = looked(Detector(looks_at_light(), padding()), bright()).sights
    assert sight.found.scores.tolist() == pytest.approx([0.7, 0.2])
    assert sight.found.labels.tolist() == [0, 1]
    assert sight.found.boxes[0].tolist() == [10, 20, 30, 40]


def test_gates_that_do_not_see_the_picture_whole_and_once_are_told_of():
    model = Detector(looks_at_light(), padding())
    model.gate = nn.Sequential(model.gate, SE(3, reduction=1))
    model.region, model.level, model.unused = (CBAM(3, reduction=1) for _ in range(3))
    detected = looked(model, bright(), bright(130, 100, (0, 0, 50, 50)))
    assert list(detected.sights[0].maps) == ["gate.0"]
    assert list(scores_of(detected, "energy")) == ["gate.0", "the middle, always"]
    assert detected.problems == (
        "no map is shown of gate.1: weighs channels alone, all positions alike",
        "no map is shown of region: reads regions, not the picture",
        "no map is shown of level: run several times a picture, once a level or part",
        "no map is shown of unused: not run on every picture",
    )
    assert [gate.site for gate in detected.gates] == ["gate.0", "gate.1", "region", "level", "unused"]
    assert {gate.size for gate in detected.gates} == {None}, "it goes by the picture's shape"


def test_pictures_without_known_objects_are_shown_and_not_scored():
    unknown = BoxedPicture("unknown", bright().pixels)
    empty = BoxedPicture("empty", bright().pixels, made_objects([], []))
    detected = looked(Detector(looks_at_light(), padding()), unknown, empty)
    assert detected.scores == ()
    assert [sight.picture.name for sight in detected.sights] == ["unknown", "empty"]
    assert detected.gates[0].size == (16, 24)


def test_a_detector_without_gates_finds_all_the_same():
    detected = looked(Detector(nn.Identity()), bright())
    assert (detected.gates, detected.scores, detected.problems) == ((), (), ())
    assert len(detected.sights[0].found) == 2


def test_only_so_many_are_kept_and_all_are_scored():
    detected = looked(Detector(looks_at_light(), padding()), bright(), bright(), bright(), shown=2)
    assert (detected.count, len(detected.sights)) == (3, 2)
    assert scores_of(detected, "energy")["gate"].moments.n == 3


def test_the_images_of_a_part_with_what_is_known_of_them():
    part = made_part(
        [made_objects([[0, 0, 9, 9]], [1]), made_objects([], [])], sizes=[(20, 30), (30, 20)], ids=[7, "b"]
    )
    first, second = pictures_of(part)
    assert (first.name, second.name) == ("7", "b")
    assert (first.pixels.shape, first.truth.labels.tolist()) == ((3, 20, 30), [1])


def test_the_detector_stays_as_it_was():
    model = Detector(looks_at_light(), padding()).train()
    model.pool.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    looked(model, bright())
    assert [module.training for module in (model, model.pool, model.gate, model.transform)] == [True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model.gate.observers == ()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_an_exception_passes_through_and_leaves_nothing():
    model = Detector(looks_at_light()).train()
    broken = BoxedPicture("broken", torch.zeros(3, 2, 2, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="too small"):
        looked(model, broken)
    assert model.training
    assert model.gate.observers == ()


def test_no_pictures():
    with pytest.raises(DataError) as caught:
        looked(Detector(looks_at_light()))
    assert str(caught.value) == "look_at('made'): there is no picture to look at"


def test_a_class_without_a_name():
    with pytest.raises(HostError) as caught:
        looked(Detector(looks_at_light(), label=4), bright())
    assert str(caught.value) == (
        "look_at('made'): the detector finds a class that has no name\n"
        "  got: label 4, of 3 classes\n"
        "  fix: classes= needs one name for each output but the background"
    )
