"""Random objects, and detections that are near them, far from them, twice, and of the wrong class."""

import torch
from support.detection_parts import MadePart, made_objects, made_part
from torch import Tensor

from whatwhere.detect.detections import Detections

__all__ = ["detections", "random_found"]


def detections(boxes: object, labels: object, scores: object) -> Detections:
    """From plain lists."""
    return Detections(
        torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.as_tensor(labels, dtype=torch.int64),
        torch.as_tensor(scores, dtype=torch.float32),
    )


def random_found(seed: int, images: int, classes: int, most: int = 12) -> tuple[MadePart, list[Detections]]:
    """Boxes of 4 to 400 pixels, one in ten a crowd; scores in hundredths, so that many are equal; not sorted."""
    chance = torch.Generator().manual_seed(seed)

    def among(count: int, *shape: int) -> Tensor:
        return torch.randint(count, shape, generator=chance)

    def share(*shape: int) -> Tensor:
        return torch.rand(shape, generator=chance)

    known, found = [], []
    for _ in range(images):
        count = int(among(most + 1, 1)) * int(among(5, 1) > 0)
        corners, sides = share(count, 2) * 240, 4 * 100 ** share(count, 2)
        boxes, labels = torch.cat([corners, corners + sides], 1), among(classes, count)
        areas = sides.prod(1) * (0.5 + 0.5 * share(count))
        known.append(made_objects(boxes, labels, areas=areas, crowd=share(count) < 0.1))
        near = among(count, 3 * count) if count else torch.zeros(0, dtype=torch.int64)
        jitter = torch.randn(len(near), 4, generator=chance) * sides[near].repeat(1, 2) * 0.06
        noise = share(int(among(most, 1)), 2) * 240
        ours = torch.cat([boxes[near] + jitter, torch.cat([noise, noise + 30], 1)])
        ours = torch.cat([torch.minimum(ours[:, :2], ours[:, 2:]), torch.maximum(ours[:, :2], ours[:, 2:])], 1)
        named = torch.where(share(len(near)) < 0.8, labels[near], among(classes, len(near)))
        names = torch.cat([named, among(classes, len(noise))])
        found.append(detections(ours, names, (share(len(ours)) * 100).round() / 100))
    found[0] = detections([], [], [])
    return made_part(known), found
