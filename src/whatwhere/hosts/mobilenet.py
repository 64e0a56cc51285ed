"""MobileNet, the first version."""

import torch
from torch import Tensor, nn

from whatwhere.hosts.blocks import conv1x1, draw_convolutions_
from whatwhere.hosts.widths import scaled

__all__ = ["MobileNet", "SeparableBlock", "mobilenet"]

# channels and stride of the depthwise separable blocks (table 1)
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def _normed(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True))


class SeparableBlock(nn.Module):
    """A 3x3 convolution of each channel by itself and a 1x1 convolution, each with a norm and a ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        each = nn.Conv2d(in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False)
        self.depthwise = _normed(each)
        self.pointwise = _normed(conv1x1(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        result: Tensor = self.pointwise(self.depthwise(x))
        return result


class MobileNet(nn.Module):
    """A 3x3 convolution of stride 2 and thirteen depthwise separable blocks.

    Args:
        num_classes: outputs of ``fc``.
        in_channels: channels of the images.
        alpha: the paper's width multiplier; channels are rounded down, which gives the BAM and CBAM papers' figures.
        width: factor of all channel counts, rounded to the nearest.

    Source: Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, 2017,
    table 1; its last depthwise stride is written 2 and meant 1, for the map keeps its size there.
    Initialised as ``ResNet``.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, alpha: float = 1.0, width: float = 1.0) -> None:
        super().__init__()
        channels = scaled(int(32 * alpha), width)
        self.stem = _normed(nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False))
        blocks = []
        for plain, stride in _BLOCKS:
            out_channels = scaled(int(plain * alpha), width)
            blocks.append(SeparableBlock(channels, out_channels, stride))
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        draw_convolutions_(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, num_classes)`` logits."""
        logits: Tensor = self.fc(torch.flatten(self.avgpool(self.blocks(self.stem(x))), 1))
        return logits


def mobilenet(num_classes: int = 1000, in_channels: int = 3, *, alpha: float = 1.0, width: float = 1.0) -> MobileNet:
    """MobileNet: 4,231,976 parameters and 0.569 GMACs at 224x224; 2,298,747 and 0.283 with ``alpha`` 0.7."""
    return MobileNet(num_classes=num_classes, in_channels=in_channels, alpha=alpha, width=width)
