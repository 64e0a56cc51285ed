"""Random changes of images together with the boxes in them, by torchvision's transforms."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from whatwhere.errors import DataError

__all__ = ["Augmentation", "Kind"]

Kind = Literal["none", "flip", "scale", "ssd"]

_FILL = (124, 116, 104)  # ImageNet's mean colour, where there is no image
_SCALES = (0.5, 2.0)
_LEAST = 4  # rows and columns that a crop is taken from


@dataclass(frozen=True)
class Augmentation:
    """What is done to an image before a detector learns from it.

    - ``none``: nothing.
    - ``flip``: mirrored half the time, as Faster R-CNN learns (Ren et al. 2015).
    - ``scale``: that, and scaled by a factor from 1/2 to 2, as likely to halve as to double, then cut or filled up to
      the size it had; so objects vary in size for detectors that bring images to a size of their own, too (large-scale
      jitter, Ghiasi et al. 2021, whose range is wider).
    - ``ssd``: colours distorted, zoomed out up to four times, cut to a part that overlaps an object by a drawn share,
      mirrored (Liu et al. 2016, section 2.2 and 3.6).

    Boxes that are left without area, or whose middle was cut off by ``ssd``, are dropped with their labels.

    Args:
        kind: one of these words.
        image_size: rows and columns that the image is brought to at last, its sides not kept in proportion, as SSD
            takes it; None leaves it as it is.

    Raises:
        DataError: an unknown kind, or a size below 1.
    """

    kind: Kind = "none"
    image_size: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or (self.image_size is not None and self.image_size < 1):
            raise DataError(
                f"Augmentation({self.kind!r}, image_size={self.image_size}): a kind is one of "
                f"{', '.join(get_args(Kind))}, and image_size is a number of pixels, 1 or more"
            )

    def __call__(self, image: Tensor, boxes: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """A changed copy, or what was given where nothing is to be changed; all chance comes from ``seed``.

        Args:
            image: uint8 (3, H, W), on the CPU.
            boxes: float32 (n, 4), corners in pixels, inside the image.
            labels: int64 (n,).
            seed: 0 or more.

        Returns:
            The same three kinds of tensor, of the changed image.
        """
        if self.kind == "none" and self.image_size is None:
            return image, boxes, labels
        from torchvision import tv_tensors
        from torchvision.transforms.v2 import functional

        size = (image.shape[-2], image.shape[-1])
        sample = (tv_tensors.Image(image), tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size), labels)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            sample = _changed(self.kind, *sample)
        picture, found, names = sample
        if self.image_size is not None:
            both = [self.image_size, self.image_size]
            picture, found = functional.resize(picture, both, antialias=False), functional.resize(found, both)
        return picture.as_subclass(Tensor), found.as_subclass(Tensor), names


def _changed(kind: Kind, image: Any, boxes: Any, labels: Tensor) -> tuple[Any, Any, Tensor]:
    from torchvision.transforms.v2 import functional

    flip, distort, zoom, crop, clean = _steps()
    if kind == "none":
        return image, boxes, labels
    if kind == "flip":
        return flip(image, boxes, labels)  # type: ignore[no-any-return]
    if kind == "scale":
        image, boxes = _scaled(image, boxes)
    else:
        image, boxes = zoom(distort(image), boxes)
        if len(boxes) and min(image.shape[-2:]) >= _LEAST:
            image, boxes = crop(image, boxes)
    image, boxes = flip(image, boxes)
    # by rounding a box may end a little beyond the image, and such a one is dropped as if it lay outside
    return clean(image, functional.clamp_bounding_boxes(boxes), labels)  # type: ignore[no-any-return]


@cache
def _steps() -> tuple[Any, ...]:
    from torchvision.transforms import v2

    return (
        v2.RandomHorizontalFlip(),
        v2.RandomPhotometricDistort(),
        v2.RandomZoomOut(fill=_FILL),
        v2.RandomIoUCrop(),
        v2.SanitizeBoundingBoxes(labels_getter=lambda sample: sample[2]),
    )


def _scaled(image: Any, boxes: Any) -> tuple[Any, Any]:
    """An image made larger and cut, or smaller and filled up, to the size it has."""
    from torchvision.transforms.v2 import functional

    rows, columns = image.shape[-2:]
    low, high = _SCALES
    factor, down, across = torch.rand(3).tolist()
    factor = low * (high / low) ** factor
    if factor >= 1:
        high, wide = max(1, round(rows / factor)), max(1, round(columns / factor))
        part = round(down * (rows - high)), round(across * (columns - wide)), high, wide
        return tuple(functional.resized_crop(each, *part, [rows, columns]) for each in (image, boxes))
    high, wide = max(1, round(rows * factor)), max(1, round(columns * factor))
    top, left = round(down * (rows - high)), round(across * (columns - wide))
    edges = [left, top, columns - wide - left, rows - high - top]
    image, boxes = (functional.resize(each, [high, wide]) for each in (image, boxes))
    return functional.pad(image, edges, fill=list(_FILL)), functional.pad(boxes, edges)
