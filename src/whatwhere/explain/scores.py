"""How well a map fits the objects: pointing game, energy inside, and overlap at the best common threshold.

Every score is 1 for a map that is the mask itself, and the mask's share of the area for a map that is the same
everywhere. All are computed on the CPU.
"""

import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.errors import DataError
from whatwhere.moments import Moments, describe

__all__ = ["THRESHOLDS", "Localisation", "best_iou", "chance", "energy", "iou_curves", "on_pixels", "pointing"]

THRESHOLDS = tuple(step / 50 for step in range(1, 50))
"""Where maps are cut, from 0.02 to 0.98 of their range."""
# A spread below this share of a map's largest value is float32's rounding and not a place.
_ROUNDING = 1e-6


def pointing(maps: Tensor, masks: Tensor) -> Tensor:
    """Pointing game: whether a map's largest value lies on an object.

    Where several positions are largest, it is the share of them that does.

    Args:
        maps: finite numbers (B, h, w), of any size, dtype and range; ``on_pixels`` brings them to the masks' size.
        masks: bool (B, H, W), the objects' pixels.

    Returns:
        float64 (B,) on the CPU, 0 to 1. NaN where the mask is empty: such an image cannot be scored, leave it out.

    Raises:
        DataError: a map is not finite, or maps and masks do not belong together.

    References: Zhang et al. 2018, Top-down neural attention by excitation backprop. Its margin of 15 pixels around the
    object is left out, for it would lift chance above the share of the area.
    """
    return _pointing(*_pair("pointing(maps, masks)", maps, masks))


def energy(maps: Tensor, masks: Tensor) -> Tensor:
    """Energy-based pointing game: the share of a map's sum, above its smallest value, that lies on the objects.

    Arguments, value and errors as in ``pointing``.

    References: Wang et al. 2020, Score-CAM, section 4.3. arXiv:1910.01279
    """
    return _energy(*_pair("energy(maps, masks)", maps, masks))


def iou_curves(maps: Tensor, masks: Tensor, thresholds: tuple[float, ...] = THRESHOLDS) -> Tensor:
    """Intersection over union of the objects with what a map has at or above each threshold.

    Arguments, errors and images that cannot be scored as in ``pointing``.

    Args:
        thresholds: T rising numbers, shares of each map's range.

    Returns:
        float64 (B, T) on the CPU.
    """
    return _iou_curves(*_pair("iou_curves(maps, masks)", maps, masks), thresholds)


def best_iou(curves: Tensor, thresholds: tuple[float, ...] = THRESHOLDS) -> tuple[float, Tensor]:
    """The threshold with the highest mean over all images, the lowest such in a tie, and what each image has there.

    It is one for the whole set: choosing the best of each image would need to know its mask. As it is chosen on the
    images that it is judged by, the mean is still somewhat high where these are few.

    Args:
        curves: (N, T), as ``iou_curves`` gives them; rows of NaN do not count.

    Returns:
        The threshold, and float64 (N,).

    References: Choe et al. 2020, Evaluating weakly supervised object localization methods right, section 4.
    """
    best = int(curves.nanmean(0).numpy().argmax())  # NumPy's takes the first of several
    return thresholds[best], curves[:, best]


def chance(masks: Tensor) -> Tensor:
    """What a map without any information scores: the objects' share of the area.

    Args:
        masks: bool (B, H, W).

    Returns:
        float64 (B,) on the CPU; NaN where a mask is empty.
    """
    share = masks.cpu().double().mean((1, 2))
    return _unless_empty(share, masks.cpu())


class Localisation:
    """The scores of one kind of map over many images, batch by batch.

    It keeps some fifty numbers an image (0.4 kB), and neither maps nor masks. Images whose mask is empty are left out.

    Example:
        >>> scores = Localisation()
        >>> scores.update(torch.eye(4).expand(2, 4, 4), torch.eye(4).bool().expand(2, 4, 4))
        >>> scores.summary()["iou"].mean
        1.0
    """

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def update(self, maps: Tensor, masks: Tensor) -> None:
        """Adds a batch; arguments and errors as in ``pointing``."""
        pair = _pair("update(maps, masks)", maps, masks)
        singles = torch.stack([_pointing(*pair), _energy(*pair), chance(masks)], 1)
        rows = torch.cat([singles, _iou_curves(*pair, THRESHOLDS)], 1)
        self._rows.append(rows[~rows[:, 0].isnan()])

    def summary(self) -> dict[str, Moments]:
        """``pointing``, ``energy``, ``iou`` and ``chance`` over the images so far; empty where none could be scored."""
        rows = torch.cat(self._rows) if self._rows else torch.empty(0)
        if not len(rows):
            return {}
        columns = dict(pointing=rows[:, 0], energy=rows[:, 1], iou=best_iou(rows[:, 3:])[1], chance=rows[:, 2])
        return {score: describe(column.tolist()) for score, column in columns.items()}

    @property
    def threshold(self) -> float | None:
        """Where ``iou`` cuts the maps, as ``best_iou`` chose it; None where no image could be scored."""
        rows = torch.cat(self._rows) if self._rows else torch.empty(0)
        return best_iou(rows[:, 3:])[0] if len(rows) else None


def on_pixels(call: str, maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Brings maps to an image's size and each to the range from 0 to 1; one that is the same everywhere becomes 1.

    Bilinear, pixels being areas (``align_corners=False``). It is done in float64 and rounded, so that values that are
    equal but for rounding become equal. A spread below a millionth of the largest value counts as none.

    Args:
        call: what the user called, for the error.
        maps: finite numbers (B, h, w).
        size: (H, W).

    Returns:
        float32 (B, H, W) on the CPU.

    Raises:
        DataError: a map is not finite.
    """
    maps = maps.detach().cpu().double()
    broken = (~maps.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if broken:
        got = f"NaN or infinity in {len(broken)} of {len(maps)}, first in maps[{broken[0]}]"
        raise DataError(f"{call}: maps must be finite", got=got)
    largest = maps.abs().amax((1, 2), keepdim=True)
    values = functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    values = values - values.amin((1, 2), keepdim=True)
    spread = values.amax((1, 2), keepdim=True)
    return torch.where(spread > _ROUNDING * largest, values / spread, 1.0).float()


def _pair(call: str, maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Maps and masks of one size, on the CPU."""
    if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks) or masks.dtype != torch.bool:
        raise DataError(
            f"{call}: maps must be (B, h, w), and masks bool (B, H, W), one for each",
            got=f"maps {tuple(maps.shape)}, masks {tuple(masks.shape)} of {masks.dtype}",
        )
    return on_pixels(call, maps, (masks.shape[1], masks.shape[2])), masks.cpu()


def _unless_empty(scores: Tensor, masks: Tensor) -> Tensor:
    scores[~masks.flatten(1).any(1)] = torch.nan
    return scores


def _pointing(values: Tensor, masks: Tensor) -> Tensor:
    peaks = values == values.amax((1, 2), keepdim=True)
    return _unless_empty((peaks & masks).sum((1, 2)).double() / peaks.sum((1, 2)), masks)


def _energy(values: Tensor, masks: Tensor) -> Tensor:
    values = values.double()
    return _unless_empty((values * masks).sum((1, 2)) / values.sum((1, 2)), masks)


def _iou_curves(values: Tensor, masks: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """One pass over the pixels, whatever the number of thresholds: a histogram of each map on and off the objects."""
    images, bins = len(values), len(thresholds) + 1
    # a pixel's bin is the number of thresholds that it reaches
    reached = torch.bucketize(values, torch.tensor(thresholds, dtype=values.dtype), right=True).flatten(1)
    cell = (torch.arange(images)[:, None] * 2 + masks.flatten(1)) * bins + reached
    counts = torch.bincount(cell.flatten(), minlength=images * 2 * bins).view(images, 2, bins)
    off, on = counts.flip(2).cumsum(2).flip(2).double().unbind(1)
    return _unless_empty(on[:, 1:] / (on[:, :1] + off[:, 1:]), masks)
