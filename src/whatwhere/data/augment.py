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

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """New images, uint8 (B, C, H, W) as given; one padded copy and one or two of the batch are made.

        Args:
            images: uint8 (B, C, H, W) on any device.
            generator: on the CPU.

        Raises:
            DataError: the images are of another kind, or the generator is not on the CPU.
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
        if self.padding:
            images = self._crop(images, generator)
        if self.flip:
            mirrored = torch.randint(2, (len(images), 1, 1, 1), generator=generator).bool().to(images.device)
            images = torch.where(mirrored, images.flip(-1), images)
        return images

    def _crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        offsets = torch.randint(2 * self.padding + 1, (count, 2), generator=generator).to(images.device)
        padded = functional.pad(images, (self.padding,) * 4)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(count, device=images.device), :, offsets[:, 0], offsets[:, 1]]
