"""What is known of where the objects in a picture are, whatever format it was published in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from whatwhere.errors import DataError

__all__ = ["LARGEST_SIDE", "MOST_BOXES", "Annotated", "Object", "check_pixels", "fit_box", "reaches_far"]

LARGEST_SIDE = 1 << 20
"""Rows or columns of an image."""
MOST_BOXES = 0.95
"""A share of a part's boxes that tells what they all are: a few odd ones do not hide it."""


@dataclass(frozen=True)
class Object:
    """One labelled object.

    Attributes:
        name: of its class.
        box: x0, y0, x1, y1 in pixels from 0, the far edges exclusive, inside the image and not empty.
        difficult: its publishers leave it out of their scores (VOC).
        crowd: the box holds many objects of the class (COCO).
        cut: the box was told to reach far over the edge, as `reaches_far` says.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool = False
    crowd: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Annotated:
    """One image file, its width and height as its annotation tells them, and its objects in the order given."""

    path: Path
    size: tuple[int, int]
    objects: tuple[Object, ...]


def fit_box(call: str, where: str, box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of ``box`` (x0, y0, x1, y1) that lies in an image of that width and height.

    Args:
        call: the call as the user wrote it, for messages.
        where: the file and the object, for messages.
        box: in pixels from 0, far edges exclusive.
        size: width and height of the image.

    Raises:
        DataError: the box is reversed, empty, not finite or wholly outside.
    """
    x0, y0, x1, y1 = box
    told = f"{where}: {x0:g}, {y0:g} to {x1:g}, {y1:g}"
    if not all(map(math.isfinite, box)):
        raise DataError(f"{call}: the edges of a box are finite numbers", got=told, fix="mend or delete the object")
    if x1 <= x0 or y1 <= y0:
        raise DataError(f"{call}: a box is reversed or empty", got=told, fix="mend or delete the object")
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1]))
    if x1 <= x0 or y1 <= y0:
        raise DataError(
            f"{call}: a box lies outside its image",
            got=f"{told} in {size[0]} x {size[1]}",
            fix="mend or delete the object",
        )
    return x0, y0, x1, y1


def reaches_far(box: Sequence[float], size: Sequence[int]) -> bool:
    """Whether a box reaches over an edge of its image by more than a pixel and more than a tenth of the image.

    Args:
        box: as of `fit_box`.
        size: width and height of the image.
    """
    return any(max(-box[i], box[i + 2] - side) > max(1, side / 10) for i, side in enumerate(size))


def check_pixels(call: str, where: str, boxes: Tensor, sizes: Tensor) -> None:
    """Refuse a part whose boxes are shares of their image.

    Args:
        call: the call as the user wrote it, for messages.
        where: the file or the folder, for messages.
        boxes: (N, 4), four numbers each.
        sizes: (N, 2), rows and columns of the image of each.

    Raises:
        DataError: nearly all of their numbers lie within 0 and 1.
    """
    shares = ((boxes >= 0) & (boxes <= 1)).all(1) & (sizes > 1).all(1)
    if len(boxes) and shares.double().mean() >= MOST_BOXES:
        raise DataError(
            f"{call}: the edges of a box are told in pixels, not in shares of the image",
            got=f"{where}: {int(shares.sum()):,} of {len(boxes):,} boxes lie within 0 and 1",
            fix="multiply them by the width and the height of their image",
        )
