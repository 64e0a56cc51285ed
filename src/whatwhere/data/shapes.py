"""Ten outlines, as maps of the signed distance to their edge, for scenes to draw at any size and angle."""

from functools import cache
from math import cos, pi, sin

import torch
from torch import Tensor

__all__ = ["SHAPES", "distance_maps"]

SIZE = 64
"""Rows and columns of a distance map."""
REACH = 1.25
"""Half the side of a distance map, where every outline fits the unit circle."""

Points = list[tuple[float, float]]


def _circle(x: float, y: float, radius: float) -> Points:
    return [(x + radius * cos(2 * pi * i / 48), y + radius * sin(2 * pi * i / 48)) for i in range(48)]


def _mirrored(right: Points) -> Points:
    return right + [(-x, y) for x, y in reversed(right)]


def _star() -> Points:
    radii = (1.0, 0.42)
    return [(radii[i % 2] * sin(pi * i / 5), -radii[i % 2] * cos(pi * i / 5)) for i in range(10)]


def _heart() -> Points:
    turn = [2 * pi * i / 48 for i in range(48)]
    return [
        (0.95 * sin(t) ** 3, -(13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)) / 17.5 - 0.1) for t in turn
    ]


_OUTLINES: dict[str, tuple[Points, Points | None]] = {
    # the outline, then the one cut out of it; y runs downwards; a mirror changes none, for training flips images
    "disc": (_circle(0, 0, 0.9), None),
    "ring": (_circle(0, 0, 0.95), _circle(0, 0, 0.5)),
    "crescent": (_circle(0, 0.05, 0.95), _circle(0, -0.45, 0.72)),
    "square": (_mirrored([(0.72, -0.72), (0.72, 0.72)]), None),
    "triangle": ([(0, -0.95), (0.9, 0.7), (-0.9, 0.7)], None),
    "cross": (
        _mirrored([(0.3, -0.95), (0.3, -0.3), (0.95, -0.3), (0.95, 0.3), (0.3, 0.3), (0.3, 0.95)]),
        None,
    ),
    "star": (_star(), None),
    "heart": (_heart(), None),
    "hourglass": (_mirrored([(0.75, -0.85), (0.15, 0), (0.75, 0.85)]), None),
    "tee": (_mirrored([(0.85, -0.85), (0.85, -0.25), (0.3, -0.25), (0.3, 0.85)]), None),
}

SHAPES = tuple(_OUTLINES)


@cache
def distance_maps() -> Tensor:
    """The signed distance to each outline, negative inside, float32 (10, SIZE, SIZE) over [-REACH, REACH] squared."""
    # pixel centres, as grid_sample(align_corners=False) sees them
    axis = ((torch.arange(SIZE, dtype=torch.float64) + 0.5) / SIZE * 2 - 1) * REACH
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack((x, y), -1)
    maps = []
    for outline, hole in _OUTLINES.values():
        distance = _signed_distance(grid, outline)
        maps.append(distance if hole is None else torch.maximum(distance, -_signed_distance(grid, hole)))
    return torch.stack(maps).float()


def _signed_distance(grid: Tensor, outline: Points) -> Tensor:
    """Distance from each point of ``grid`` (..., 2) to a polygon, negative where a ray rightwards crosses it oddly."""
    starts = torch.tensor(outline, dtype=grid.dtype)
    ends = starts.roll(-1, 0)
    edges, away = ends - starts, grid[..., None, :] - starts
    along = ((away * edges).sum(-1) / edges.square().sum(-1)).clamp(0, 1)
    nearest = (away - along[..., None] * edges).norm(dim=-1).amin(-1)
    straddles = (starts[:, 1] > grid[..., 1, None]) != (ends[:, 1] > grid[..., 1, None])
    right = away[..., 0] * edges[:, 1] - away[..., 1] * edges[:, 0]
    crossings = (straddles & (torch.where(edges[:, 1] > 0, right, -right) < 0)).sum(-1)
    return torch.where(crossings % 2 == 1, -nearest, nearest)
