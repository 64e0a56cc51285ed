"""What a data set is here: one tensor of bytes with its labels, and the three parts a trial uses."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from whatwhere.data.stream import Stream
from whatwhere.errors import DataError

__all__ = ["ImageSet", "Splits"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, held whole in memory, and what is known of each.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
        boxes: float32 (N, 4), x0, y0, x1, y1 in pixels of the labelled object, the far edges exclusive; or None.
        masks: bool (N, H, W), the pixels of the labelled object; or None.

    Raises:
        DataError: a shape or dtype is another one, or the lengths differ.
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor | None = None
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise DataError(
                "ImageSet(images): images are uint8 (N, C, H, W)",
                got=f"{str(self.images.dtype).removeprefix('torch.')} {tuple(self.images.shape)}",
            )
        count, _, height, width = self.images.shape
        self._check("labels", self.labels, torch.int64, (count,))
        self._check("boxes", self.boxes, torch.float32, (count, 4))
        self._check("masks", self.masks, torch.bool, (count, height, width))

    @staticmethod
    def _check(name: str, tensor: Tensor | None, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        if tensor is not None and (tensor.dtype != dtype or tuple(tensor.shape) != shape):
            wanted, got = (str(kind).removeprefix("torch.") for kind in (dtype, tensor.dtype))
            raise DataError(
                f"ImageSet({name}): {name} of these images are {wanted} {shape}", got=f"{got} {tuple(tensor.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def to(self, device: torch.device | str) -> Self:
        """The same set on ``device``; no copy when it is there already."""
        return replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            boxes=None if self.boxes is None else self.boxes.to(device),
            masks=None if self.masks is None else self.masks.to(device),
        )

    def take(self, indices: Tensor) -> Self:
        """A copy of the images at ``indices`` (int64 (M,)), in that order."""
        indices = indices.to(self.images.device)
        return replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            boxes=None if self.boxes is None else self.boxes[indices],
            masks=None if self.masks is None else self.masks[indices],
        )


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set cut into the part to learn from, the part to choose by and the part to report.

    The parts are all in memory or all streams.

    Args:
        name: what `load` was asked for; of a folder, its absolute path.
        classes: the name of each label.
        train: what weights are fitted to.
        validation: what the best epoch and every setting are chosen by; empty when none was asked for.
        test: looked at once; no seed changes it.
        mean: of each channel of the training images, with 255 as 1; of a stream, of some of them.
        std: likewise, the population's standard deviation, at least one grey level.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet | Stream
    validation: ImageSet | Stream
    test: ImageSet | Stream
    mean: tuple[float, ...]
    std: tuple[float, ...]
