"""What is known of where the objects in a picture are, whatever format it was published in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whatwhere.errors import DataError

__all__ = ["Annotated", "Object", "fit_box"]


@dataclass(frozen=True)
class Object:
    """One labelled object.

    Attributes:
        name: of its class.
        box: x0, y0, x1, y1 in pixels from 0, the far edges exclusive, inside the image and not empty.
        difficult: its publishers leave it out of their scores (VOC).
        crowd: the box holds many objects of the class (COCO).
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool = False
    crowd: bool = False


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
    if not all(map(math.isfinite, box)) or x1 <= x0 or y1 <= y0:
        raise DataError(f"{call}: a box is reversed or empty", got=told, fix="mend or delete the object")
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1]))
    if x1 <= x0 or y1 <= y0:
        raise DataError(
            f"{call}: a box lies outside its image",
            got=f"{told} in {size[0]} x {size[1]}",
            fix="mend or delete the object",
        )
    return x0, y0, x1, y1
