import pytest
import torch

from whatwhere.data import ImageSet
from whatwhere.errors import DataError


def _parts(count=4):
    return {
        "images": torch.randint(0, 256, (count, 3, 5, 6), dtype=torch.uint8),
        "labels": torch.arange(count),
        "boxes": torch.rand(count, 4),
        "masks": torch.rand(count, 5, 6) > 0.5,
    }


def test_take_takes_every_part_in_the_order_asked():
    parts = _parts()
    taken = ImageSet(**parts).take(torch.tensor([3, 0, 3]))
    assert len(taken) == 3
    for name, tensor in parts.items():
        assert torch.equal(getattr(taken, name), tensor[[3, 0, 3]])


def test_to_moves_every_part():
    moved = ImageSet(**_parts()).to("meta")
    assert {getattr(moved, name).device.type for name in _parts()} == {"meta"}


def test_boxes_and_masks_may_be_missing():
    parts = _parts()
    plain = ImageSet(parts["images"], parts["labels"])
    assert plain.take(torch.tensor([1])).boxes is None
    assert plain.to("meta").masks is None


@pytest.mark.parametrize(
    ("name", "wrong", "text"),
    [
        (
            "images",
            torch.zeros(4, 3, 5, 6),
            "ImageSet(images): images are uint8 (N, C, H, W)\n  got: float32 (4, 3, 5, 6)",
        ),
        (
            "images",
            torch.zeros(3, 5, 6, dtype=torch.uint8),
            "ImageSet(images): images are uint8 (N, C, H, W)\n  got: uint8 (3, 5, 6)",
        ),
        (
            "labels",
            torch.arange(5),
            "ImageSet(labels): labels of these images are int64 (4,)\n  got: int64 (5,)",
        ),
        (
            "boxes",
            torch.zeros(4, 4, dtype=torch.float64),
            "ImageSet(boxes): boxes of these images are float32 (4, 4)\n  got: float64 (4, 4)",
        ),
        (
            "masks",
            torch.zeros(4, 6, 5, dtype=torch.bool),
            "ImageSet(masks): masks of these images are bool (4, 5, 6)\n  got: bool (4, 6, 5)",
        ),
    ],
    ids=["image-dtype", "image-shape", "labels", "boxes", "masks"],
)
def test_parts_that_do_not_fit_are_refused(name, wrong, text):
    with pytest.raises(DataError) as caught:
        ImageSet(**{**_parts(), name: wrong})
    assert str(caught.value) == text
