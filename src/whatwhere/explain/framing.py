"""The middle of an image, upright and of the size a network takes; and what was known of its pixels along with it."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from whatwhere.data.annotations import Annotated
from whatwhere.data.decode import rgb

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["framed", "inside", "masks", "scaled", "stored", "turned"]

_TURNS = {
    2: (False, (-1,)),
    3: (False, (-2, -1)),
    4: (False, (-2,)),
    5: (True, ()),
    6: (True, (-1,)),
    7: (True, (-2, -1)),
    8: (True, (-2,)),
}
"""For each EXIF orientation: whether rows and columns change places, and which axes are then mirrored."""
_SPARE = 2
"""How many times the pixels that are needed a JPEG is decoded to, at the least, each way."""


def turned(image: Tensor, orientation: int) -> Tensor:
    """A stored image (..., H, W) as it is meant to be seen, by its EXIF orientation, 1 to 8; others turn nothing."""
    across, mirrored = _TURNS.get(orientation, (False, ()))
    return (image.transpose(-1, -2) if across else image).flip(mirrored)


def stored(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Rows and columns, before turning, of what has ``size`` after."""
    return size[::-1] if orientation in _TURNS and _TURNS[orientation][0] else size


def framed(opened: "Image.Image", orientation: int, image_size: tuple[int, int], channels: int) -> Tensor:
    """The largest middle part of the asked shape, turned and scaled, uint8 (channels, *image_size).

    Cut and scaled in one step, by Pillow's bilinear filter, which averages when it shrinks; so no step is larger than
    the file's image, whatever its shape. A JPEG of more than twice the pixels that are needed is decoded at a half, a
    quarter or an eighth of its size. Only the small image is turned.

    Args:
        opened: its pixels not decoded yet.
        orientation: of EXIF.
        image_size: rows and columns of the result.
        channels: 3, or 1 for grey.

    Raises:
        ValueError: floating-point pixels, and one of `unreadable` for what is broken.
    """
    rows, columns = stored(image_size, orientation)
    x0, y0, x1, y1 = _middle(opened.size, (rows, columns))
    shrink = math.floor(min((x1 - x0) / columns, (y1 - y0) / rows) / _SPARE)
    if shrink > 1:
        opened.draft(None, (opened.size[0] // shrink, opened.size[1] // shrink))  # without effect on other formats
    return turned(scaled(rgb(opened), (rows, columns), channels), orientation)


def scaled(picture: "Image.Image", image_size: tuple[int, int], channels: int) -> Tensor:
    """The largest middle part of the asked shape, scaled, uint8 (channels, *image_size)."""
    from PIL import Image

    box = _middle(picture.size, image_size)
    small = picture.resize(image_size[::-1], Image.Resampling.BILINEAR, box=box)
    pixels = torch.from_numpy(np.array(small.convert("RGB" if channels == 3 else "L")))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()


def masks(known: Annotated, size: tuple[int, int], orientation: int, image_size: tuple[int, int]) -> dict[str, Tensor]:
    """The pixels inside each class's boxes, bool (*image_size), of what `framed` shows; classes not seen are left out.

    So are objects that their publishers call difficult, and boxes round a crowd: no score counts them.

    A pixel is inside where its centre is; a box that has no centre inside gets the pixel that its own centre is in. An
    annotation of another size than the file's is one of the image as it is seen, where that has this size.

    Args:
        known: the objects.
        size: width and height of the image as stored in its file.
        orientation: of EXIF.
        image_size: rows and columns of the result.

    Raises:
        ValueError: the annotation is of an image of another size.
    """
    if known.size not in (size, stored(size, orientation)):
        width, height = known.size
        raise ValueError(f"annotated as {width} x {height}, but {size[0]} x {size[1]}")
    turn = orientation if known.size == size else 1
    rows, columns = stored(image_size, turn)
    x0, y0, x1, y1 = _middle(known.size, (rows, columns))
    found: dict[str, Tensor] = {}
    for one in (each for each in known.objects if not (each.difficult or each.crowd)):
        left, top, right, bottom = one.box
        across = inside(left, right, x0, columns / (x1 - x0), columns)
        down = inside(top, bottom, y0, rows / (y1 - y0), rows)
        if across.start < across.stop and down.start < down.stop:
            found.setdefault(one.name, torch.zeros(rows, columns, dtype=torch.bool))[down, across] = True
    return {name: turned(mask, turn).contiguous() for name, mask in found.items()}


def _middle(size: tuple[int, int], image_size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the largest middle part of an image that has the shape of ``image_size``."""
    width, height = size
    rows, columns = image_size
    wide, high = min(width, height * columns / rows), min(height, width * rows / columns)
    left, top = (width - wide) / 2, (height - high) / 2
    return left, top, left + wide, top + high


def inside(first: float, last: float, start: float, scale: float, count: int) -> slice:
    """The pixels, of ``count``, whose centres lie between two edges."""
    low, high = (first - start) * scale, (last - start) * scale
    begin, end = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if begin == end:
        begin = math.floor((low + high) / 2)
        end = begin + 1
    return slice(max(begin, 0), max(min(end, count), 0))
