"""Boxes on pictures: they are where they should be, are seen on any ground, and leave the picture alone."""

import itertools

import numpy as np
import pytest
import torch
from support.detection_parts import made_objects

from whatwhere.data.detection import Objects
from whatwhere.detect.detections import Detections
from whatwhere.detect.drawing import colour, draw, enlarged, true_name

CLASSES = tuple(f"class {label}" for label in range(91))
NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))


def found(*rows) -> Detections:
    """Rows of a box, a label and a score."""
    boxes, labels, scores = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels), torch.tensor(scores))


def plain(value, height=200, width=300):
    return torch.tensor(value, dtype=torch.uint8).reshape(-1, 1, 1).expand(3, height, width).clone()


def luminance(pixels) -> np.ndarray:
    part = np.asarray(pixels, dtype=float) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def contrast(one, other) -> float:
    light, dark = sorted((float(one), float(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def drawn(image, *args, **options) -> np.ndarray:
    return np.asarray(draw(image, *args, **options))


def test_a_box_lies_just_inside_its_pixels():
    pixels = drawn(plain(128), found(([100.0, 60.0, 180.0, 120.0], 3, 0.9)), CLASSES)
    at = np.argwhere((pixels == colour(3)).all(2) & (np.arange(200)[:, None] >= 60))
    assert (at.min(0).tolist(), at.max(0).tolist()) == ([60, 100], [119, 179])
    assert (pixels[62:118, 102:178] == 128).all()


def test_nothing_found_leaves_the_picture_as_it_was_and_the_image_is_never_changed():
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = image.clone()
    picture = draw(image, NOTHING, CLASSES)
    assert (picture.mode, picture.size) == ("RGB", (70, 50))
    assert np.array_equal(np.asarray(picture), before.permute(1, 2, 0).numpy())
    draw(image, found(([5.0, 5.0, 60.0, 40.0], 1, 0.9)), CLASSES, truth=made_objects([[1, 1, 30, 30]], [2]))
    assert torch.equal(image, before)


def test_what_is_less_sure_is_left_out():
    both = found(([20.0, 40.0, 120.0, 150.0], 1, 0.8), ([150.0, 40.0, 250.0, 150.0], 2, 0.29))
    image = plain(128)
    assert np.array_equal(
        drawn(image, both, CLASSES), drawn(image, found(([20.0, 40.0, 120.0, 150.0], 1, 0.8)), CLASSES)
    )
    assert (drawn(image, both, CLASSES, least_score=0.2) == colour(2)).all(2).any()
    assert np.array_equal(drawn(image, both, CLASSES, least_score=0.9), drawn(image, NOTHING, CLASSES))


def test_the_surest_is_on_top():
    box = [100.0, 60.0, 180.0, 120.0]
    pixels = drawn(plain(128), found((box, 1, 0.9), (box, 2, 0.5)), CLASSES)
    assert (pixels[60, 140] == colour(1)).all()


def test_truth_is_dashed_in_white_and_says_what_it_is():
    truth = made_objects([[60, 40, 240, 150]], [4])
    edge = drawn(plain(128), NOTHING, CLASSES, truth=truth)[40, 60:240]
    white = (edge == 255).all(1)
    assert 0.35 < white.mean() < 0.7
    assert (edge[~white] <= 128).all()
    assert np.count_nonzero(np.diff(white.astype(int)) == 1) > 10
    odd = made_objects([[0, 0, 5, 5]] * 3, [0, 1, 2], crowd=[True, False, False], difficult=[False, True, False])
    assert [true_name(odd, place, CLASSES) for place in range(3)] == ["class 0, crowd", "class 1, difficult", "class 2"]


def test_classes_differ_and_bear_black_letters():
    colours = [colour(label) for label in range(91)]
    nearest = min(np.linalg.norm(np.subtract(*pair)) for pair in itertools.combinations(colours, 2))
    assert nearest > 8
    assert min(np.linalg.norm(np.subtract(*pair)) for pair in itertools.combinations(colours[:20], 2)) > 16
    assert min(contrast(luminance(one), 0) for one in colours) > 8.8


@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), (118, 118, 118), colour(5)])
def test_a_line_is_seen_on_any_ground(ground):
    pixels = drawn(plain(ground), found(([100.0, 60.0, 180.0, 120.0], 5, 0.9)), CLASSES)
    across = luminance(pixels[90, 90:115])
    assert max(contrast(value, luminance(ground)) for value in across) >= 3


def test_lines_and_letters_grow_with_the_picture():
    def line_and_letters(height, width):
        one = found(([0.4 * width, 0.4 * height, 0.9 * width, 0.9 * height], 5, 0.9))
        pixels = drawn(plain(128, height, width), one, CLASSES)
        mine = (pixels == colour(5)).all(2)
        letters = mine[: round(0.4 * height) - 4].any(1).sum()
        return int(mine[round(0.65 * height), : round(0.6 * width)].sum()), int(letters)

    small, large = line_and_letters(240, 320), line_and_letters(1200, 1600)
    assert small == (1, pytest.approx(8, abs=4))
    assert large[0] == 6
    assert large[1] > 2.5 * small[1]


@pytest.mark.parametrize(
    "box",
    [[10.2, 10.2, 10.4, 10.4], [0, 0, 300, 200], [299, 199, 300, 200], [-50, -50, 400, 300], [310, 210, 320, 220]],
    ids=["less than a pixel", "all", "the last pixel", "beyond all ends", "outside"],
)
def test_boxes_of_any_kind_are_drawn(box):
    pixels = drawn(plain(128), found((box, 7, 0.9)), CLASSES, truth=made_objects([box], [7]))
    assert pixels.shape == (200, 300, 3)
    assert (pixels == colour(7)).all(2).any()


def test_words_stay_in_the_picture():
    def letters(x, y):
        pixels = drawn(plain(colour(5)), found(([x, y, x + 20.0, y + 30.0], 5, 0.9)), CLASSES)
        return int((luminance(pixels) < 0.01).sum())

    middle = letters(100.0, 100.0)
    assert [letters(280.0, 100.0), letters(100.0, 0.0), letters(0.0, 170.0)] == pytest.approx([middle] * 3, rel=0.2)
    tiny = drawn(plain(128, 20, 20), found(([2.0, 2.0, 18.0, 18.0], 5, 0.9)), CLASSES)
    assert tiny.shape == (20, 20, 3)


def test_a_small_picture_is_enlarged_with_its_boxes() -> None:
    image = torch.arange(3 * 60 * 90, dtype=torch.uint8).view(3, 60, 90)
    found = Detections(torch.tensor([[1.0, 2.0, 30.0, 40.0]]), torch.tensor([0]), torch.tensor([0.5]))
    no = torch.zeros(1, dtype=torch.bool)
    truth = Objects(torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([0]), torch.tensor([200.0]), no, no)
    larger, boxes, known = enlarged(image, found, truth)
    assert larger.shape == (3, 180, 270)
    assert torch.equal(larger[:, 1::3, 1::3], image)
    assert boxes.boxes.tolist() == [[3, 6, 90, 120]]
    assert known is not None
    assert (known.boxes.tolist(), known.areas.tolist()) == ([[0, 0, 30, 60]], [1800])
    assert enlarged(torch.zeros(3, 100, 320, dtype=torch.uint8), found, None)[1] is found
