"""PyramidNet for small images: every block adds channels."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from whatwhere.hosts.blocks import PaddedShortcut, conv3x3, draw_convolutions_
from whatwhere.hosts.widths import scaled

__all__ = ["PyramidBlock", "PyramidNet", "pyramidnet110"]


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The input with zero channels appended, averaged over 2x2 positions where the map is halved."""
    if stride == 1 and in_channels == out_channels:
        return None
    padded = PaddedShortcut(in_channels, out_channels, 1)
    return padded if stride == 1 else nn.Sequential(nn.AvgPool2d(2, stride=2, ceil_mode=True), padded)


class PyramidBlock(nn.Module):
    """``shortcut(x) + bn3(conv2(relu(bn2(conv1(bn1(x))))))``, with a free shortcut.

    Args:
        in_channels: channels of the input.
        out_channels: channels of both convolutions and of the output, at least ``in_channels``.
        stride: of ``conv1`` and of the shortcut, 1 or 2.

    Source: Han, Kim and Kim, Deep Pyramidal Residual Networks, CVPR 2017, figure 6d and section 3.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        out = self.relu(self.bn2(self.conv1(self.bn1(x))))
        result: Tensor = self.bn3(self.conv2(out)) + (x if self.downsample is None else self.downsample(x))
        return result


class PyramidNet(nn.Module):
    """Three stages of ``blocks`` blocks over a 3x3 stem of stride 1; channels grow evenly from 16 to 16 + ``alpha``.

    Args:
        blocks: in each stage.
        alpha: channels that all blocks together add.
        num_classes: outputs of ``fc``.
        in_channels: channels of the images.
        width: factor of all channel counts, rounded block by block.

    Source: Han, Kim and Kim, Deep Pyramidal Residual Networks, CVPR 2017, equation 3 (additive).
    Initialised as ``ResNet``.
    """

    def __init__(self, blocks: int, alpha: int, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        counts = [scaled(16 + alpha * index // (3 * blocks), width) for index in range(3 * blocks + 1)]
        self.conv1 = conv3x3(in_channels, counts[0])
        self.bn1 = nn.BatchNorm2d(counts[0])
        layers = [
            PyramidBlock(before, after, stride=2 if index in (blocks, 2 * blocks) else 1)
            for index, (before, after) in enumerate(pairwise(counts))
        ]
        self.layer1 = nn.Sequential(*layers[:blocks])
        self.layer2 = nn.Sequential(*layers[blocks : 2 * blocks])
        self.layer3 = nn.Sequential(*layers[2 * blocks :])
        self.bn = nn.BatchNorm2d(counts[-1])
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(counts[-1], num_classes)
        draw_convolutions_(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, num_classes)`` logits."""
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(self.relu(self.bn(x))), 1))
        return logits


def pyramidnet110(num_classes: int = 10, in_channels: int = 3, *, alpha: int = 270, width: float = 1.0) -> PyramidNet:
    """The additive PyramidNet of 110 layers, two to a block: 28,511,307 parameters for 100 classes."""
    return PyramidNet(18, alpha, num_classes=num_classes, in_channels=in_channels, width=width)
