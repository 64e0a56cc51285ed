import random

import pytest
import torch

from whatwhere.data import scenes_many
from whatwhere.data.box_transforms import Augmentation
from whatwhere.errors import DataError

KINDS = ["flip", "scale", "ssd"]


def _patch(height=60, width=90):
    """A black image with a white rectangle, its box, and a label."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, 12:40, 20:50] = 255
    return image, torch.tensor([[20.0, 12, 50, 40]]), torch.tensor([4])


def _rectangle(image):
    """Where the white pixels are."""
    rows, columns = (image.float().amin(0) > 200).nonzero(as_tuple=True)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


def test_nothing_is_nothing():
    image, boxes, labels = _patch()
    for ours, theirs in zip(Augmentation()(image, boxes, labels, 3), (image, boxes, labels), strict=True):
        assert ours is theirs


@pytest.mark.parametrize("kind", ["flip", "scale"])
@pytest.mark.parametrize("size", [None, 48])
def test_boxes_go_where_their_objects_go(kind, size):
    seen = set()
    for seed in range(40):
        image, boxes, labels = Augmentation(kind, size)(*_patch(), seed)
        assert image.shape == ((3, 60, 90) if size is None else (3, 48, 48))
        if len(boxes):
            assert labels.tolist() == [4]
            torch.testing.assert_close(boxes[0], _rectangle(image), rtol=0, atol=1.6)
            seen.add(tuple(boxes[0].tolist()))
    assert len(seen) == 2 if kind == "flip" else len(seen) > 30


def test_a_mirror_is_exact_and_comes_half_the_time():
    image, boxes, labels = _patch()
    flips = 0
    for seed in range(200):
        changed, found, _ = Augmentation("flip")(image, boxes, labels, seed)
        if found[0, 0] == 20:
            assert torch.equal(changed, image)
        else:
            flips += 1
            assert torch.equal(changed, image.flip(-1))
            assert found.tolist() == [[40, 12, 70, 40]]
    assert 75 <= flips <= 125


def test_scales_halve_and_double():
    areas = []
    for seed in range(200):
        _, found, _ = Augmentation("scale")(*_patch(), seed)
        areas += (found[:, 2:] - found[:, :2]).prod(1).tolist()
    assert 0.25 * 840 - 30 <= min(areas) < 0.3 * 840
    assert 3 * 840 < max(areas) <= 4 * 840 + 60


def test_ssd_shows_parts_of_larger_and_smaller_images_in_other_colours():
    shapes, colours = set(), set()
    drawn = scenes_many.generate_many(20, seed=0)
    for seed in range(100):
        index = seed % 20
        known = drawn.objects(index)
        image, boxes, labels = Augmentation("ssd")(drawn.image(index), known.boxes, known.labels, seed)
        shapes.add(tuple(image.shape[1:]))
        colours.add(tuple(image.float().mean((1, 2)).tolist()))
        assert len(boxes) == len(labels) <= len(known)
        assert len(boxes) > 0 or len(known) == 0
    assert len(colours) == 100
    assert any(min(shape) > 200 for shape in shapes)
    assert any(max(shape) < 96 for shape in shapes)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_what_comes_out_is_whole(kind):
    drawn = scenes_many.generate_many(60, seed=1)
    for index in range(60):
        known = drawn.objects(index)
        image, boxes, labels = Augmentation(kind, 64)(drawn.image(index), known.boxes, known.labels, index)
        assert (type(image), type(boxes), type(labels)) == (torch.Tensor,) * 3
        assert (image.dtype, boxes.dtype, labels.dtype) == (torch.uint8, torch.float32, torch.int64)
        assert image.shape == (3, 64, 64)
        assert boxes.shape == (len(labels), 4)
        assert bool(((boxes >= 0) & (boxes <= 64)).all())
        assert bool((boxes[:, 2:] > boxes[:, :2]).all())
        assert set(labels.tolist()) <= set(known.labels.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_all_chance_comes_from_the_seed_and_no_state_is_touched(kind):
    given = _patch()
    before = [each.clone() for each in given]
    states = torch.random.get_rng_state(), random.getstate()
    one = Augmentation(kind, 50)(*given, 11)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    torch.manual_seed(99)
    again = Augmentation(kind, 50)(*given, 11)
    assert all(torch.equal(*pair) for pair in zip(one, again, strict=True))
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
    others = [Augmentation(kind, 50)(*given, seed)[0] for seed in range(8)]
    assert not all(torch.equal(others[0], other) for other in others)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(60, 90), (3, 2), (1, 1)], ids=str)
def test_images_without_objects_and_tiny_ones_pass(kind, size):
    image = torch.full((3, *size), 7, dtype=torch.uint8)
    for seed in range(20):
        changed, boxes, labels = Augmentation(kind)(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), seed)
        assert changed.numel() > 0
        assert (boxes.shape, boxes.dtype) == ((0, 4), torch.float32)
        assert (labels.shape, labels.dtype) == ((0,), torch.int64)


def test_boxes_left_without_area_go_with_their_labels():
    image = torch.zeros(3, 100, 100, dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0, 100, 100], [1, 1, 3, 3], [97, 97, 99, 99]])
    counts = set()
    for seed in range(60):
        _, found, labels = Augmentation("scale")(image, boxes, torch.tensor([5, 6, 7]), seed)
        assert labels[0] == 5
        assert len(found) == len(labels)
        counts.add(len(found))
    assert {1, 3} <= counts


@pytest.mark.parametrize(("kind", "size"), [("crop", None), ("ssd", 0)])
def test_arguments_out_of_range_are_refused(kind, size):
    with pytest.raises(DataError) as caught:
        Augmentation(kind, size)
    assert str(caught.value) == (
        f"Augmentation({kind!r}, image_size={size}): a kind is one of none, flip, scale, ssd, "
        "and image_size is a number of pixels, 1 or more"
    )
