"""What scenes are drawn with: random numbers by the block, outlines, waves, ground, colours, stripes, grain."""

from math import pi

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.data.shapes import REACH, distance_maps

__all__ = ["BLOCK", "Draws", "cover", "draw_waves", "expose", "ground", "stand_out", "striped", "tight", "waves"]

BLOCK = 100
"""Images drawn from one random stream; image i is decided by the seed and i, whatever the count."""


class Draws:
    """Uniform numbers of one block, always drawn for the whole block.

    Args:
        key: of the stream, such as the seed and the number of the block.
    """

    def __init__(self, *key: int) -> None:
        self._source = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 (BLOCK, *shape) in [low, high)."""
        return torch.from_numpy(self._source.random((BLOCK, *shape), dtype=np.float32)).mul_(high - low).add_(low)

    def labels(self, classes: int) -> Tensor:
        """int64 (BLOCK,), every class equally often, in random order."""
        return torch.from_numpy(self._source.permutation(BLOCK)) % classes


def cover(shape: Tensor, x: Tensor, y: Tensor, radius: Tensor, angle: Tensor, size: int) -> Tensor:
    """How much of each pixel each of n outlines covers, 0 to 1, float32 (n, size, size).

    Args:
        shape: index of the outline, int64 (n,).
        x: of its middle, as ``y`` and ``radius`` in pixels, all (n,).
        y: of its middle.
        radius: of the circle that the outline fits.
        angle: that it is turned by, in radians.
        size: rows and columns.
    """
    long, turn = radius[:, None, None], angle[:, None, None]
    axis = torch.arange(size) + 0.5
    across, down = axis - x[:, None, None], axis[:, None] - y[:, None, None]
    cos, sin = torch.cos(turn) / long, torch.sin(turn) / long
    places = torch.stack((across * cos + down * sin, down * cos - across * sin), -1) / REACH
    maps = distance_maps()[shape, None]
    distance = functional.grid_sample(maps, places, padding_mode="border", align_corners=False)[:, 0] * long
    return (0.5 - distance).clamp_(0, 1)


def draw_waves(draws: Draws, short: float, long: float, *each: int) -> tuple[Tensor, Tensor, Tensor]:
    """Length in [short, long), direction and phase of plane waves, each (BLOCK, *each, 1, 1, 1)."""
    length, angle, phase = (draws.uniform(*ends, *each, 1, 1, 1) for ends in ((short, long), (0, pi), (0, 2 * pi)))
    return length, angle, phase


def waves(drawn: tuple[Tensor, Tensor, Tensor], size: int, native: int) -> Tensor:
    """Plane waves in -1..1, (n, 1, size, size); lengths (n, 1, 1, 1) are meant for images of ``native`` pixels."""
    length, angle, phase = drawn
    axis = (torch.arange(size) + 0.5) * (2 * pi * native / size)
    return torch.sin((axis * torch.cos(angle) + axis[:, None] * torch.sin(angle)) / length + phase)


def ground(draws: Draws, size: int, native: int) -> Tensor:
    """Clouds and broad waves round one colour, (BLOCK, 3, size, size)."""
    base = draws.uniform(0.3, 0.7, 3, 1, 1)
    spots = draws.uniform(-0.2, 0.2, 3, 6, 6)
    clouds = functional.interpolate(spots, size=(size, size), mode="bilinear", align_corners=True)
    return base + clouds + draws.uniform(-0.15, 0.15, 3, 1, 1) * waves(draw_waves(draws, 7, 16), size, native)


def stand_out(colours: Tensor, canvas: Tensor) -> Tensor:
    """Colours (BLOCK, n, 3), moved half the scale where they would be lost in the ground (BLOCK, 3, H, W)."""
    lost = (colours - canvas.mean((2, 3))[:, None]).abs().amax(-1, keepdim=True) < 0.35
    return torch.where(lost, (colours + 0.5) % 1, colours)


def striped(colour: Tensor, wave: Tensor, depth: Tensor) -> Tensor:
    """Fine stripes of a colour (n, 3, ...) and of that colour lightened or darkened by ``depth`` (n, 1, ...).

    The wave is as long as what is to be striped, (n, 1, ...).
    """
    far_end = (colour.mean(1, keepdim=True) < 0.5).float()
    stripes = (wave * 2).clamp_(-1, 1) * 0.5 + 0.5
    return torch.lerp(colour, far_end, stripes * depth)


def expose(draws: Draws, canvas: Tensor) -> Tensor:
    """The picture taken: contrast, brightness and grain vary from image to image; uint8."""
    contrast, light, grain = (draws.uniform(*ends, 1, 1, 1) for ends in ((0.6, 1), (-0.1, 0.1), (0.01, 0.05)))
    noise = draws.uniform(-(3**0.5), 3**0.5, *canvas.shape[1:])
    canvas = (canvas - 0.5) * contrast + (0.5 + light) + grain * noise
    return canvas.mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def tight(masks: Tensor) -> Tensor:
    """The tightest box round each mask (n, H, W), none of them empty: float32 (n, 4), far edges exclusive."""
    edges = []
    for lines in (masks.any(1), masks.any(2)):
        found = lines.to(torch.uint8)
        edges.append((found.argmax(1), lines.shape[1] - found.flip(1).argmax(1)))
    (x0, x1), (y0, y1) = edges
    return torch.stack((x0, y0, x1, y1), 1).float()
