"""SSD: maps of several scales, and a predictor on each that says what stands where."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

__all__ = ["Head", "Predictor", "draw_xavier_", "extras", "ssd"]


class Predictor(nn.Module):
    """The predictor of one scale: two convolutions over the same map, one for classes and one for boxes.

    Args:
        channels: of the map.
        anchors: boxes at each position.
        classes: outputs for each box, the background among them.
        kernel_size: of both convolutions, which keep the size.
    """

    def __init__(self, channels: int, anchors: int, classes: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.logits = nn.Conv2d(channels, anchors * classes, kernel_size, padding=kernel_size // 2)
        self.offsets = nn.Conv2d(channels, anchors * 4, kernel_size, padding=kernel_size // 2)
        draw_xavier_(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, channels, H, W) -> (B, H W anchors, classes)`` logits and ``(B, H W anchors, 4)`` offsets of boxes."""
        return _by_box(self.logits(x), self.classes), _by_box(self.offsets(x), 4)


class Head(nn.ModuleList):
    """One predictor a scale, the finest first; each may have a gate before it."""

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """The predictions of all scales, one after the other, under the names that torchvision's SSD reads."""
        said = [predictor(x) for predictor, x in zip(self, maps, strict=True)]
        logits, offsets = (torch.cat(part, dim=1) for part in zip(*said, strict=True))
        return {"cls_logits": logits, "bbox_regression": offsets}


def ssd(
    backbone: nn.Module,
    channels: Sequence[int],
    classes: int,
    *,
    size: int,
    ratios: Sequence[Sequence[int]],
    scales: Sequence[float],
    kernel_size: int = 3,
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
) -> SSD:
    """An SSD whose anchors are laid out relative to the image, so that ``size`` may be changed afterwards.

    Args:
        backbone: ``(B, 3, size, size)`` to a dict of maps, the finest first.
        channels: of the maps.
        classes: outputs for each box, the background among them.
        size: side in pixels to which images are brought.
        ratios: of the sides of each scale's anchors, beside 1, which each scale has in two sizes; each ratio stands
            for itself and its inverse.
        scales: side of each scale's anchors as a fraction of the image's, and one more, which bounds the last.
        kernel_size: of the predictors.
        mean: of the images, channel by channel, subtracted.
        std: of the images, divided by.

    Centres of anchors split the image evenly; SSD's own lie ``(i + 0.5)`` strides from its edge, which at 300 pixels
    is up to 4 pixels away.

    Source: Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, section 2.
    """
    anchors = DefaultBoxGenerator([list(one) for one in ratios], scales=list(scales))
    counts = anchors.num_anchors_per_location()
    head = Head(Predictor(width, count, classes, kernel_size) for width, count in zip(channels, counts, strict=True))
    return SSD(backbone, anchors, (size, size), classes, image_mean=list(mean), image_std=list(std), head=head)


def extras(sizes: Sequence[tuple[int, int, int]], channels: int) -> nn.ModuleList:
    """The layers behind a trunk, each of which gives the next scale: 1x1 to fewer channels, 3x3 to more.

    Args:
        sizes: channels between, channels given and stride of each; a stride of 1 goes without padding and takes two
            positions off each side.
        channels: that the trunk gives.
    """
    layers = nn.ModuleList()
    for between, given, stride in sizes:
        layers.append(
            nn.Sequential(
                nn.Conv2d(channels, between, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(between, given, 3, stride=stride, padding=stride - 1),
                nn.ReLU(inplace=True),
            )
        )
        channels = given
    draw_xavier_(layers)
    return layers


def draw_xavier_(module: nn.Module) -> None:
    """Draws all convolutions, in place, from Xavier's uniform distribution; biases become 0. As SSD's release does."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _by_box(x: Tensor, columns: int) -> Tensor:
    """``(B, anchors columns, H, W) -> (B, H W anchors, columns)``."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, columns)
