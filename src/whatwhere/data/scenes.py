"""An embedded set where both what and where matter: name the shape of the one striped object among plain ones.

Nothing is downloaded: scenes are drawn from a seed, some thousands a second and core. Each shows one target among one
to three distractors on textured ground. The target is finely striped; the distractors are plain and of other shapes,
and the ground has broader waves of its own. Finding the target takes a channel that answers to fine stripes and the
place where it answers; the label is the target's shape, which a mirror does not change. The target is drawn last, so
nothing hides it, and its box and mask come with the image.
"""

from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.data.images import ImageSet
from whatwhere.data.shapes import REACH, SHAPES, distance_maps
from whatwhere.errors import DataError

__all__ = ["BLOCK", "CLASSES", "generate"]

CLASSES = SHAPES
BLOCK = 100
"""Images drawn from one random stream; image i is decided by the seed and i, whatever the count."""

_OBJECTS = 4  # a target and at most three distractors
_NATIVE = 32  # the image size that the lengths below are meant for


class _Draws:
    """Uniform numbers of one block, always drawn for the whole block."""

    def __init__(self, seed: int, block: int) -> None:
        self._source = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, block))))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(self._source.random((BLOCK, *shape), dtype=np.float32)).mul_(high - low).add_(low)

    def labels(self) -> Tensor:
        """Every class equally often, in random order."""
        return torch.from_numpy(self._source.permutation(BLOCK)) % len(CLASSES)


@dataclass(frozen=True)
class _Objects:
    """Where the objects of a block stand; the target is the last. Lengths in pixels, all (BLOCK, _OBJECTS)."""

    shape: Tensor
    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor
    shown: Tensor


def generate(count: int, *, seed: int, image_size: int = _NATIVE) -> ImageSet:
    """``count`` scenes with the box and the mask of each target, label the index of its shape in `CLASSES`.

    The first images of a longer set are the images of a shorter one of the same seed, bit for bit on one machine; every
    hundred images hold each class ten times. About 0.13 ms an image of 32 x 32 on one core, growing with the area.

    Args:
        count: how many.
        seed: 0 or more.
        image_size: rows and columns; shapes and waves grow with it.

    Raises:
        DataError: ``count`` or ``seed`` is negative, or ``image_size`` is below 24.
    """
    if count < 0 or seed < 0 or image_size < 24:
        raise DataError(
            "scenes.generate(count, seed, image_size): count and seed are 0 or more, image_size is 24 or more",
            got=f"count {count}, seed {seed}, image_size {image_size}",
        )
    blocks = [_block(seed, block, image_size) for block in range(max(1, -(-count // BLOCK)))]
    images, labels, masks = (torch.cat(parts)[:count] for parts in zip(*blocks, strict=True))
    return ImageSet(images, labels, _boxes(masks), masks)


def _block(seed: int, block: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and masks of one block."""
    draws = _Draws(seed, block)
    labels = draws.labels()
    cover = _cover(_place(draws, labels, size), size)
    canvas = _ground(draws, size)
    colours = _colours(draws, canvas)
    for i in range(_OBJECTS - 1):
        canvas = torch.lerp(canvas, colours[:, i, :, None, None], cover[:, i, None])
    canvas = torch.lerp(canvas, _striped(draws, colours[:, -1], size), cover[:, -1, None])
    return _expose(draws, canvas), labels, cover[:, -1] > 0.5


def _place(draws: _Draws, labels: Tensor, size: int) -> _Objects:
    """Objects anywhere inside the image; distractors of any shape but the target's."""
    other = draws.uniform(1, len(CLASSES), _OBJECTS).long()
    other[:, -1] = 0
    radius = draws.uniform(6, 9, _OBJECTS) * (size / _NATIVE)
    x, y = (radius + draws.uniform(0, 1, _OBJECTS) * (size - 2 * radius) for _ in range(2))
    shown = torch.arange(_OBJECTS) < draws.uniform(1, _OBJECTS, 1).long()
    shown[:, -1] = True
    angle = draws.uniform(-pi / 9, pi / 9, _OBJECTS)
    return _Objects((labels[:, None] + other) % len(CLASSES), x, y, radius, angle, shown)


def _cover(objects: _Objects, size: int) -> Tensor:
    """How much of each pixel each object covers, 0 to 1, (BLOCK, _OBJECTS, size, size); 0 for one that is not shown."""
    radius, angle = objects.radius[..., None, None], objects.angle[..., None, None]
    axis = torch.arange(size) + 0.5
    x, y = axis - objects.x[..., None, None], axis[:, None] - objects.y[..., None, None]
    cos, sin = torch.cos(angle) / radius, torch.sin(angle) / radius
    places = torch.stack((x * cos + y * sin, y * cos - x * sin), -1).flatten(0, 1) / REACH
    maps = distance_maps()[objects.shape.flatten(), None]
    distance = functional.grid_sample(maps, places, padding_mode="border", align_corners=False)
    distance = distance.view(BLOCK, _OBJECTS, size, size) * radius
    return (0.5 - distance).clamp_(0, 1) * objects.shown[..., None, None]


def _waves(draws: _Draws, short: float, long: float, size: int) -> Tensor:
    """Plane waves in -1..1, any direction and phase, so many native pixels long, (BLOCK, 1, size, size)."""
    length, angle, phase = (draws.uniform(*ends, 1, 1, 1) for ends in ((short, long), (0, pi), (0, 2 * pi)))
    axis = (torch.arange(size) + 0.5) * (2 * pi * _NATIVE / size)
    return torch.sin((axis * torch.cos(angle) + axis[:, None] * torch.sin(angle)) / length + phase)


def _ground(draws: _Draws, size: int) -> Tensor:
    """Clouds and broad waves round one colour, (BLOCK, 3, size, size)."""
    base = draws.uniform(0.3, 0.7, 3, 1, 1)
    spots = draws.uniform(-0.2, 0.2, 3, 6, 6)
    clouds = functional.interpolate(spots, size=(size, size), mode="bilinear", align_corners=True)
    return base + clouds + draws.uniform(-0.15, 0.15, 3, 1, 1) * _waves(draws, 7, 16, size)


def _colours(draws: _Draws, ground: Tensor) -> Tensor:
    """One colour an object, (BLOCK, _OBJECTS, 3), moved half the scale where it would be lost in the ground."""
    colours = draws.uniform(0, 1, _OBJECTS, 3)
    lost = (colours - ground.mean((2, 3))[:, None]).abs().amax(-1, keepdim=True) < 0.35
    return torch.where(lost, (colours + 0.5) % 1, colours)


def _striped(draws: _Draws, colour: Tensor, size: int) -> Tensor:
    """The target's cue: fine stripes of its colour (BLOCK, 3) and of that colour lightened or darkened."""
    colour = colour[..., None, None]
    far_end = (colour.mean(1, keepdim=True) < 0.5).float()
    stripes = (_waves(draws, 3, 4, size) * 2).clamp_(-1, 1) * 0.5 + 0.5
    return torch.lerp(colour, far_end, stripes * draws.uniform(0.6, 0.95, 1, 1, 1))


def _expose(draws: _Draws, canvas: Tensor) -> Tensor:
    """The picture taken: contrast, brightness and grain vary from image to image; uint8."""
    contrast, light, grain = (draws.uniform(*ends, 1, 1, 1) for ends in ((0.6, 1), (-0.1, 0.1), (0.01, 0.05)))
    noise = draws.uniform(-(3**0.5), 3**0.5, *canvas.shape[1:])
    canvas = (canvas - 0.5) * contrast + (0.5 + light) + grain * noise
    return canvas.mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def _boxes(masks: Tensor) -> Tensor:
    """The tightest box round each mask, float32 (N, 4), far edges exclusive."""
    edges = []
    for lines in (masks.any(1), masks.any(2)):
        found = lines.to(torch.uint8)
        edges.append((found.argmax(1), lines.shape[1] - found.flip(1).argmax(1)))
    (x0, x1), (y0, y1) = edges
    return torch.stack((x0, y0, x1, y1), 1).float()
