"""Residual networks that norm and activate before each convolution, for small images."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from whatwhere.hosts.blocks import Block, conv1x1, conv3x3, draw_convolutions_, inner_channels, stage
from whatwhere.hosts.widths import scaled, scaled_stages

__all__ = ["PreBasicBlock", "PreBottleneck", "PreResNet", "preresnet110", "preresnet164", "wrn28"]


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """A strided 1x1 convolution where the shape changes."""
    return None if stride == 1 and in_channels == out_channels else conv1x1(in_channels, out_channels, stride)


class PreBasicBlock(nn.Module):
    """``x + conv2(relu(bn2(conv1(relu(bn1(x))))))``; where the shape changes, the shortcut projects ``relu(bn1(x))``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of both convolutions and of the output.
        stride: of ``conv1`` and of the shortcut.

    Source: He et al., Identity Mappings in Deep Residual Networks, ECCV 2016, figure 4e and appendix;
    Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, figure 1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.downsample = _projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        active = self.relu(self.bn1(x))
        out = self.relu(self.bn2(self.conv1(active)))
        result: Tensor = self.conv2(out) + (x if self.downsample is None else self.downsample(active))
        return result


class PreBottleneck(nn.Module):
    """As ``PreBasicBlock``, with 1x1, 3x3 and 1x1 convolutions; the inner width is a quarter of ``out_channels``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: of one convolution and of the shortcut.
        stride_in_1x1: whether ``conv1`` has the stride or ``conv2``.

    Raises:
        HostError: ``out_channels`` is no multiple of 4.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, stride_in_1x1: bool = True) -> None:
        super().__init__()
        inner = inner_channels(out_channels)
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv1x1(in_channels, inner, first)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner, second)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = conv1x1(inner, out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        active = self.relu(self.bn1(x))
        out = self.relu(self.bn2(self.conv1(active)))
        out = self.relu(self.bn3(self.conv2(out)))
        result: Tensor = self.conv3(out) + (x if self.downsample is None else self.downsample(active))
        return result


class PreResNet(nn.Module):
    """A pre-activation network of three stages over a 3x3 stem of stride 1; a norm and a ReLU stand before the pool.

    Args:
        block: ``(in_channels, out_channels, stride) -> nn.Module``.
        stages: ``(blocks, channels)`` of the three stages; the second and the third halve the map.
        stem: channels of the first convolution.
        num_classes: outputs of ``fc``.
        in_channels: channels of the images.

    Initialised as ``ResNet``.
    """

    def __init__(
        self, block: Block, stages: Sequence[tuple[int, int]], *, stem: int, num_classes: int, in_channels: int = 3
    ) -> None:
        super().__init__()
        (first, a), (second, b), (third, c) = stages
        self.conv1 = conv3x3(in_channels, stem)
        self.layer1 = stage(block, first, stem, a, stride=1)
        self.layer2 = stage(block, second, a, b, stride=2)
        self.layer3 = stage(block, third, b, c, stride=2)
        self.bn = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c, num_classes)
        draw_convolutions_(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, num_classes)`` logits."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(self.relu(self.bn(x))), 1))
        return logits


def preresnet110(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> PreResNet:
    """The pre-activation ResNet of 110 layers, two to a block: 1,735,860 parameters for 100 classes."""
    stages = scaled_stages([(18, 16), (18, 32), (18, 64)], width)
    return PreResNet(PreBasicBlock, stages, stem=scaled(16, width), num_classes=num_classes, in_channels=in_channels)


def preresnet164(
    num_classes: int = 10, in_channels: int = 3, *, stride_in_1x1: bool = True, width: float = 1.0
) -> PreResNet:
    """The pre-activation ResNet of 164 layers, three to a block: 1,726,388 parameters for 100 classes.

    This is the network that the BAM paper calls PreResNet 110. At 32x32 it takes 0.245 GMACs with ``stride_in_1x1``,
    which is what the paper prints, and 0.248 without.
    """
    block = partial(PreBottleneck, stride_in_1x1=stride_in_1x1)
    stages = scaled_stages([(18, 64), (18, 128), (18, 256)], width, 4)
    return PreResNet(block, stages, stem=scaled(16, width), num_classes=num_classes, in_channels=in_channels)


def wrn28(num_classes: int = 10, in_channels: int = 3, *, widening: int = 8, width: float = 1.0) -> PreResNet:
    """The wide ResNet of 28 layers: 23,401,012 parameters for 100 classes and ``widening`` 8, 36,536,884 for 10.

    Source: Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, table 1; without dropout.
    """
    stages = scaled_stages([(4, 16 * widening), (4, 32 * widening), (4, 64 * widening)], width)
    return PreResNet(PreBasicBlock, stages, stem=scaled(16, width), num_classes=num_classes, in_channels=in_channels)
