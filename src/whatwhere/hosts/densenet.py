"""The DenseNet of 100 layers for small images."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whatwhere.hosts.blocks import conv1x1, conv3x3, draw_convolutions_
from whatwhere.hosts.widths import scaled

__all__ = ["DenseBlock", "DenseLayer", "DenseNet", "Transition", "densenet100"]


class DenseLayer(nn.Module):
    """Appends ``growth`` new channels to its input, by a 1x1 convolution to ``inner`` channels and a 3x3 one."""

    def __init__(self, in_channels: int, inner: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv1x1(in_channels, inner)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, growth)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, in_channels + growth, H, W)``."""
        out = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(out)))], 1)


class DenseBlock(nn.Sequential):
    """Dense layers, one after the other."""


class Transition(nn.Sequential):
    """Fewer channels and half the size: norm, ReLU, 1x1 convolution, average pool."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = conv1x1(in_channels, out_channels)
        self.pool = nn.AvgPool2d(2, stride=2)


class DenseNet(nn.Module):
    """A DenseNet-BC of three blocks over a 3x3 stem of stride 1; transitions halve channels and size.

    Args:
        layers: in each block.
        growth: channels that a layer adds; inside it has four times as many.
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor of all channel counts, rounded layer by layer.

    Source: Huang et al., Densely Connected Convolutional Networks, CVPR 2017, sections 3 and 4.2; without dropout.
    Modules are named as in torchvision's DenseNets, initialised as ``ResNet``.
    """

    def __init__(self, layers: int, growth: int, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        channels = 2 * growth
        have = scaled(channels, width)
        parts: OrderedDict[str, nn.Module] = OrderedDict(conv0=conv3x3(in_channels, have))
        for block in (1, 2, 3):
            dense: OrderedDict[str, nn.Module] = OrderedDict()
            for layer in range(1, layers + 1):
                channels += growth
                new = max(scaled(channels, width) - have, 1)
                dense[f"denselayer{layer}"] = DenseLayer(have, scaled(4 * growth, width), new)
                have += new
            parts[f"denseblock{block}"] = DenseBlock(dense)
            if block < 3:
                channels //= 2
                parts[f"transition{block}"] = Transition(have, scaled(channels, width))
                have = scaled(channels, width)
        self.features = nn.Sequential(parts)
        self.features.add_module("norm5", nn.BatchNorm2d(have))
        self.classifier = nn.Linear(have, num_classes)
        draw_convolutions_(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, num_classes)`` logits."""
        x = F.relu(self.features(x))
        logits: Tensor = self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
        return logits


def densenet100(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> DenseNet:
    """DenseNet-BC of 100 layers, growth 12: 800,032 parameters for 100 classes."""
    return DenseNet(16, 12, num_classes=num_classes, in_channels=in_channels, width=width)
