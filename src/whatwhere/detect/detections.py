"""What a detector says of one image."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Detections", "detections"]


@dataclass(frozen=True, eq=False)
class Detections:
    """The n objects that were found in one image, the surest first.

    Attributes:
        boxes: float32 (n, 4), x0, y0, x1, y1 in pixels of the image as stored, far edges exclusive.
        labels: int64 (n,), indices of classes, from 0; the background is none.
        scores: float32 (n,) in 0..1, falling.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def detections(output: Mapping[str, Tensor]) -> Detections:
    """What a detector as torchvision's gives of one image, on the CPU; its labels count from 1."""
    scores, order = output["scores"].float().cpu().sort(descending=True, stable=True)
    return Detections(output["boxes"].float().cpu()[order], output["labels"].cpu()[order] - 1, scores)
