"""Random crops and flips of whole batches, on the device the images are on."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.errors import DataError

__all__ = ["Augment"]


@dataclass(frozen=True)
class Augment:
    """Shifts each image by up to ``padding`` pixels either way, black coming in, and mirrors it with probability 1/2.

    The augmentation of CIFAR training since He et al. 2016, section 4.2 (4 pixels and a flip), drawn for each image on
    its own. All chance comes from the generator, so its state alone decides the result, on every device: first one
    (row, column) offset an image, when ``padding`` is not 0, then one flip an image, when ``flip`` is set.

    Args:
        padding: pixels added on every side before cropping back.
        flip: whether to mirror left and right.

    Raises:
        DataError: ``padding`` is negative.
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise DataError(f"Augment(padding={self.padding}): padding is a number of pixels, 0 or more")

    def __call__(
        self, images: Tensor, generator: torch.Generator, *, first: int = 0, total: int | None = None
    ) -> Tensor:
        """New images, uint8 (B, C, H, W) as given; one padded copy and one or two of the batch are made.

        Args:
            images: uint8 (B, C, H, W) on any device.
            generator: on the CPU.
            first: where in a larger batch these images begin, for processes that share one; with ``total`` the draws
                are those of the whole batch, and each process gets what the batch would have got in one piece.
            total: images of that larger batch; None when this is the whole.

        Raises:
            DataError: the images are of another kind, lie outside the larger batch, or the generator is not on the CPU.
        """
        if images.ndim != 4 or images.dtype != torch.uint8:
            kind = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
            raise DataError("Augment()(images): images are uint8 (B, C, H, W)", got=kind)
        if generator.device.type != "cpu":
            raise DataError(
                "Augment()(images, generator): the generator must be on the CPU, the same draws for every device",
                got=f"a generator on {generator.device}",
                fix="torch.Generator().manual_seed(seed)",
            )
        count = len(images) if total is None else total
        mine = slice(first, first + len(images))
        if not 0 <= mine.start <= mine.stop <= count:
            raise DataError(
                f"Augment()(images, first={first}, total={total}): the images lie within the larger batch",
                got=f"{len(images)} images",
            )
        if self.padding:
            offsets = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)[mine]
            images = self._crop(images, offsets.to(images.device, non_blocking=True))
        if self.flip:
            mirrored = torch.randint(2, (count, 1, 1, 1), generator=generator)[mine].bool()
            images = torch.where(mirrored.to(images.device, non_blocking=True), images.flip(-1), images)
        return images

    def _crop(self, images: Tensor, offsets: Tensor) -> Tensor:
        count, _, height, width = images.shape
        padded = functional.pad(images, (self.padding,) * 4)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(count, device=images.device), :, offsets[:, 0], offsets[:, 1]]
