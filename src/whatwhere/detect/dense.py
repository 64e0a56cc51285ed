"""What a detector computes at every position, as a network of its own: to be counted and timed, not to detect."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["Dense", "input_side"]


class Dense(nn.Module):
    """Trunk, pyramid and heads of a detector of torchvision's kind; no proposals, no suppression, so shapes are fixed.

    Of a two-stage detector this is the trunk and the proposal network: what is computed of each proposal depends on
    how many there are.

    Args:
        detector: its modules are shared, not copied.

    Shape: images (B, 3, H, W) -> a list of maps, as the heads give them.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        parts: Any = detector
        self.backbone = parts.backbone
        self.head = parts.rpn.head if hasattr(parts, "rpn") else parts.head

    def forward(self, images: Tensor) -> Any:
        maps = self.backbone(images)
        return self.head(list(maps.values()) if isinstance(maps, Mapping) else [maps])


def input_side(detector: nn.Module) -> int:
    """Rows and columns of a square image that the detector would take without resizing it."""
    transform: Any = getattr(detector, "transform", None)
    if transform is None:
        return 224
    if transform.fixed_size is not None:
        return int(min(transform.fixed_size))
    return int(min(transform.min_size))
