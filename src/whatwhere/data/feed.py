"""Batches of bytes, and bytes made into what a network eats."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from whatwhere.data.images import ImageSet
from whatwhere.errors import DataError

__all__ = ["Normaliser", "batches", "normalise"]


def batches(images: ImageSet, size: int, *, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Images uint8 (size, C, H, W) and labels int64 (size,), batch after batch, on the device of the set.

    Args:
        images: the set; it is not copied, and batches in its own order are views of it.
        size: images a batch; the last one may be shorter.
        order: int64 indices into the set, such as a permutation; None takes the set as it lies.

    Raises:
        DataError: at the call: ``size`` is below 1, or ``order`` is no list of indices into the set.
    """
    if size < 1:
        raise DataError(f"batches(size={size}): a batch has at least one image")
    if order is not None:
        if order.ndim != 1 or order.dtype != torch.int64:
            kind = f"{str(order.dtype).removeprefix('torch.')} {tuple(order.shape)}"
            raise DataError("batches(order=...): order is int64 (M,)", got=kind)
        if len(order) and (int(order.min()) < 0 or int(order.max()) >= len(images)):
            raise DataError(
                "batches(order=...): order points outside the set",
                got=f"indices {int(order.min())} to {int(order.max())} for {len(images)} images",
            )
        order = order.to(images.images.device)
    return _batches(images, size, order)


def _batches(images: ImageSet, size: int, order: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    count = len(images) if order is None else len(order)
    for start in range(0, count, size):
        chosen = slice(start, start + size) if order is None else order[start : start + size]
        yield images.images[chosen], images.labels[chosen]


class Normaliser:
    """`normalise` with its constants on ``device`` once and for all: no copy to a GPU a batch, none in a compiled step.

    Args:
        mean: of each channel, with 255 as 1; likewise ``std``.
        std: likewise, positive.
        device: where the images will be.

    Raises:
        DataError: a std is not positive, or there are not as many as means.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu") -> None:
        if len(mean) != len(std) or min(std) <= 0:
            raise DataError(
                "Normaliser(mean, std): one mean and one positive std for each channel",
                got=f"mean {tuple(mean)}, std {tuple(std)}",
            )
        scale = torch.tensor([1 / (255 * spread) for spread in std])
        shift = torch.tensor([-centre / spread for centre, spread in zip(mean, std, strict=True)])
        self.scale, self.shift = (each.to(device).view(1, -1, 1, 1) for each in (scale, shift))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised float32 of uint8 (B, C, H, W); the memory format is kept."""
        return images.to(torch.float32).mul_(self.scale).add_(self.shift)


def normalise(
    images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """``(images / 255 - mean) / std`` for each channel, worked out in float32, then given as ``dtype``.

    Args:
        images: uint8 (B, C, H, W); its memory format is kept.
        mean: of each channel, with 255 as 1; likewise ``std``.

    Raises:
        DataError: not one mean and one positive std for each channel.
    """
    channels = images.shape[1]
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise DataError(
            f"normalise(images): images of {channels} channels need {channels} means and {channels} positive stds",
            got=f"mean {tuple(mean)}, std {tuple(std)}",
        )
    return Normaliser(mean, std, images.device)(images).to(dtype)
