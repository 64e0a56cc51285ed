"""An image inside what a detector's trunk is given, and boxes as pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.data.detection import Objects
from whatwhere.explain.finding import bare
from whatwhere.explain.framing import inside

__all__ = ["objects_mask", "on_image", "part_of_map"]


def part_of_map(model: nn.Module, image: Tensor) -> tuple[float, float]:
    """Which share of the rows and columns of a detector's maps is the image; the rest, below and right, is padding.

    Torchvision's detectors say so themselves, by their ``transform``; of others, maps are taken to be the image's.

    Args:
        model: in eval mode.
        image: float (3, H, W) on the model's device.
    """
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    transform = getattr(bare(model), "transform", None)
    if not isinstance(transform, GeneralizedRCNNTransform):
        return 1.0, 1.0
    batch, _ = transform([image])
    (rows, columns), (high, wide) = batch.image_sizes[0], batch.tensors.shape[-2:]
    return rows / high, columns / wide


def on_image(positions: Tensor, part: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """The image's part of a map, brought to ``size``: bilinear, cells being areas, the outermost values going on.

    Args:
        positions: float (h, w).
        part: as ``part_of_map`` gives it.
        size: (H, W).

    Returns:
        float32 (H, W), on the map's device.
    """
    down, across = (
        2 * share * (torch.arange(count, device=positions.device) + 0.5) / count - 1
        for share, count in zip(part, size, strict=True)
    )
    grid = torch.stack((across.expand(size), down[:, None].expand(size)), dim=-1)
    found = functional.grid_sample(
        positions[None, None].float(), grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[0, 0]


def objects_mask(objects: Objects, size: tuple[int, int], cells: tuple[int, int]) -> Tensor | None:
    """The cells of an even grid inside the boxes of all objects but crowds and difficult ones; None if none is.

    A cell is inside where its centre is; a box that has no centre inside gets the cell that its own centre is in.

    Args:
        objects: of an image.
        size: its rows and columns.
        cells: rows and columns of the grid.

    Returns:
        bool, of shape ``cells``.
    """
    mask = torch.zeros(cells, dtype=torch.bool)
    (rows, columns), (down, across) = cells, (count / length for count, length in zip(cells, size, strict=True))
    for left, top, right, bottom in objects.boxes[~(objects.crowd | objects.difficult)].tolist():
        mask[inside(top, bottom, 0, down, rows), inside(left, right, 0, across, columns)] = True
    return mask if mask.any() else None
