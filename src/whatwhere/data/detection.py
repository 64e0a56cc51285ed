"""What a detection data set is here: images of any size, where the objects in them are, and the three parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from torch import Tensor

__all__ = ["DetectionPart", "DetectionSplits", "Objects", "Scoring"]

Scoring = Literal["coco", "voc"]


@dataclass(frozen=True, eq=False)
class Objects:
    """What is known of the n objects of one image.

    Attributes:
        boxes: float32 (n, 4), x0, y0, x1, y1 in pixels from 0 of the image as stored, far edges exclusive; inside it.
        labels: int64 (n,), indices of classes, from 0.
        areas: float32 (n,), of the outline where the set has one (COCO), else of the box, in square pixels.
        difficult: bool (n,), left out of VOC's scores.
        crowd: bool (n,), a box round many objects: not trained on nor scored, and what is found in it is no mistake.
    """

    boxes: Tensor
    labels: Tensor
    areas: Tensor
    difficult: Tensor
    crowd: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class DetectionPart(Protocol):
    """One part of a set: its images are read when asked for, what is known of them lies in memory."""

    @property
    def ids(self) -> Sequence[int | str]:
        """The name of each image as its publishers give it."""

    @property
    def sizes(self) -> Tensor:
        """int64 (M, 2), rows and columns of each image, without reading it."""

    def __len__(self) -> int: ...

    def objects(self, index: int) -> Objects:
        """What is in an image; empty where nothing is."""

    def image(self, index: int) -> Tensor:
        """Its pixels, uint8 (3, H, W).

        Raises:
            DataError: the file is missing, is no image, or is not of the size that its annotation tells.
        """

    def take(self, indices: Tensor) -> Self:
        """The images at ``indices`` (int64 (M,)), in that order."""


@dataclass(frozen=True, eq=False)
class DetectionSplits:
    """A detection data set cut into the part to learn from, the part to choose by and the part to report.

    Attributes:
        name: what it was asked for; of a folder, its absolute path.
        classes: the name of each label.
        categories: the number that its publishers give each class, which results files name; of VOC 1, 2, ...
        train: what weights are fitted to; empty when the part to report was asked for alone.
        validation: what the best epoch is chosen by; empty when none was asked for.
        test: looked at once.
        scoring: whose evaluation the set is made for.
    """

    name: str
    classes: tuple[str, ...]
    categories: tuple[int, ...]
    train: DetectionPart
    validation: DetectionPart
    test: DetectionPart
    scoring: Scoring
