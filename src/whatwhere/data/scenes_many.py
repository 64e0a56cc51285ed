"""An embedded detection set: up to six shapes on textured ground, of any size from a sixth to half of the image.

Drawn from a seed like `scenes`, with the same outlines, ground, stripes and grain. Here every object is to be found and
named, plain or striped. Objects may hide a part of one another, never more than two fifths of one.
"""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from whatwhere.data.detection import Objects
from whatwhere.data.detection_parts import MemoryPart
from whatwhere.data.drawing import BLOCK, Draws, cover, draw_waves, expose, ground, stand_out, striped, tight
from whatwhere.data.packed import Packed, join, pack
from whatwhere.data.shapes import SHAPES
from whatwhere.errors import DataError

__all__ = ["CLASSES", "generate_many"]

CLASSES = SHAPES

_MOST = 6  # objects
_NATIVE = 64  # the image size that the lengths of waves are meant for
_EMPTY = 0.05  # of the images have no object
_TRIES = 8  # places for an object, of which the first far enough from the others is taken
_APART = 0.8  # of the sum of two radii
_SEEN = 0.6  # of an object, at least
_KIND = 1  # of random stream, other than that of `scenes`


@dataclass(frozen=True)
class _Wanted:
    """The objects of a block before any is drawn; lengths in pixels, all (BLOCK, _MOST) but ``count``, (BLOCK,)."""

    count: Tensor
    shape: Tensor
    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor
    stripes: Tensor


@dataclass(frozen=True)
class _Scene:
    """What stands in the images of a block so far; number 0 is the ground, objects count from 1.

    ``front``, uint8 (BLOCK, size, size), is the number of what is seen at each pixel; ``whole`` and ``seen``, int64
    (BLOCK, _MOST + 1), are the pixels of each object and those of them that nothing hides.
    """

    front: Tensor
    whole: Tensor
    seen: Tensor


def generate_many(count: int, *, seed: int, image_size: int = 96) -> MemoryPart:
    """``count`` scenes of up to six objects, labelled by the index of their shape in `CLASSES`.

    One image in twenty has none. Boxes and areas are of what can be seen of an object, as COCO's are: the tightest box
    round its visible pixels. An object comes in front of those before it, and is left out where it would hide more than
    two fifths of one.

    The first images of a longer set are the images of a shorter one of the same seed, bit for bit on one machine. About
    1.4 ms an image of 96 x 96 on one core, growing with the area.

    Args:
        count: how many.
        seed: 0 or more.
        image_size: rows and columns; shapes and waves grow with it.

    Raises:
        DataError: ``count`` or ``seed`` is negative, or ``image_size`` is below 48.
    """
    if count < 0 or seed < 0 or image_size < 48:
        raise DataError(
            "generate_many(count, seed, image_size): count and seed are 0 or more, image_size is 48 or more",
            got=f"count {count}, seed {seed}, image_size {image_size}",
        )
    blocks = [_block(seed, block, image_size) for block in range(max(1, -(-count // BLOCK)))]
    known = join([objects for _, objects in blocks]).take(torch.arange(count))
    return MemoryPart(range(count), torch.cat([pictures for pictures, _ in blocks])[:count], known)


def _block(seed: int, block: int, size: int) -> tuple[Tensor, Packed]:
    """Images (BLOCK, 3, size, size) and what can be seen in them."""
    draws = Draws(seed, block, _KIND)
    wanted = _want(draws, size)
    canvas = ground(draws, size, _NATIVE)
    colours = stand_out(draws.uniform(0, 1, _MOST, 3), canvas)
    length, angle, phase = (each[..., 0, 0, 0] for each in draw_waves(draws, 3, 5, _MOST))
    lines = torch.stack((angle.cos() / length, angle.sin() / length, phase), -1)
    depth = draws.uniform(0.6, 0.95, _MOST)
    counts = torch.zeros(2, BLOCK, _MOST + 1, dtype=torch.int64)
    scene = _Scene(torch.zeros(BLOCK, size, size, dtype=torch.uint8), *counts)
    for i in range(_MOST):
        rows, y, x, covers = _place(wanted, i, scene)
        across, down, start = lines[rows, i].unbind(-1)
        wave = torch.sin(((x + 0.5) * across + (y + 0.5) * down) * (2 * pi * _NATIVE / size) + start)
        plain, lined = colours[rows, i], wanted.stripes[rows, i, None]
        paint = torch.where(lined, striped(plain, wave[:, None], depth[rows, i, None]), plain)
        canvas[rows, :, y, x] = torch.lerp(canvas[rows, :, y, x], paint, covers[:, None])
    return expose(draws, canvas), _objects(scene, wanted.shape)


def _place(wanted: _Wanted, i: int, scene: _Scene) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Puts an i-th object (from 0) into the images that it fits.

    Returns:
        Of each pixel that it touches: the image, the row and the column, int64 (p,), and how much it covers of it.
    """
    images = (wanted.count > i).nonzero().flatten()
    where = wanted.x[images, i], wanted.y[images, i], wanted.radius[images, i], wanted.angle[images, i]
    covers = cover(wanted.shape[images, i], *where, scene.front.shape[-1])
    which, y, x = covers.nonzero(as_tuple=True)
    covers, rows = covers[which, y, x], images[which]
    inside = covers > 0.5
    behind = rows * (_MOST + 1) + scene.front[rows, y, x]
    left = scene.seen - torch.bincount(behind[inside], minlength=scene.seen.numel()).view_as(scene.seen)
    fits = (left[:, 1:] >= _SEEN * scene.whole[:, 1:]).all(1)
    kept = fits[rows]
    rows, y, x, covers, inside = rows[kept], y[kept], x[kept], covers[kept], inside[kept]
    scene.front[rows[inside], y[inside], x[inside]] = i + 1
    scene.seen[fits] = left[fits]
    scene.whole[:, i + 1] = scene.seen[:, i + 1] = torch.bincount(rows[inside], minlength=BLOCK)
    return rows, y, x, covers


def _objects(scene: _Scene, shape: Tensor) -> Packed:
    images, slots = scene.seen[:, 1:].nonzero(as_tuple=True)
    boxes = tight(scene.front[images] == slots[:, None, None] + 1)
    areas = scene.seen[images, slots + 1].float()
    flags = torch.zeros(2, len(images), dtype=torch.bool)
    return pack(Objects(boxes, shape[images, slots], areas, *flags), images, BLOCK)


def _want(draws: Draws, size: int) -> _Wanted:
    """Up to six objects of any shape, inside the image, the circles round them apart where a place was found."""
    number = draws.uniform(0, 1)
    count = torch.where(number < _EMPTY, 0, 1 + ((number - _EMPTY) / (1 - _EMPTY) * _MOST).long().clamp(0, _MOST - 1))
    shape = draws.uniform(0, len(CLASSES), _MOST).long().clamp(max=len(CLASSES) - 1)
    radius = size * 0.095 * (0.26 / 0.095) ** draws.uniform(0, 1, _MOST)
    room = (size - 2 * radius)[..., None]
    x, y = (radius[..., None] + draws.uniform(0, 1, _MOST, _TRIES) * room for _ in range(2))
    places = torch.stack((x, y), -1)
    chosen = places[:, :, 0].clone()
    for i in range(1, _MOST):
        away = (places[:, i, :, None] - chosen[:, None, :i]).norm(dim=-1)
        clear = (away / (radius[:, i, None, None] + radius[:, None, :i])).amin(-1).clamp(max=_APART)
        chosen[:, i] = places[torch.arange(BLOCK), i, clear.argmax(1)]
    angle = draws.uniform(-pi / 9, pi / 9, _MOST)
    return _Wanted(count, shape, chosen[..., 0], chosen[..., 1], radius, angle, draws.uniform(0, 1, _MOST) < 0.5)
