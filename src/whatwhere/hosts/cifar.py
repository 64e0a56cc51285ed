"""ResNets for small images: a 3x3 stem of stride 1 and no pooling before the first stage."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from whatwhere.hosts.blocks import BasicBlock, Bottleneck, PaddedShortcut, conv3x3

__all__ = ["ResNet", "resnet8", "resnet18", "resnet20", "resnet50", "resnet56", "resnet110"]


Block = Callable[[int, int, int], nn.Module]


def _stage(block: Block, blocks: int, in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """``blocks`` blocks of one width, the first of which changes the shape."""
    rest = [block(out_channels, out_channels, 1) for _ in range(blocks - 1)]
    return nn.Sequential(block(in_channels, out_channels, stride), *rest)


class ResNet(nn.Module):
    """A residual network of three or four stages over a 3x3 stem of stride 1.

    Args:
        block: ``(in_channels, out_channels, stride) -> nn.Module``.
        stages: ``(blocks, channels)`` of each stage, three or four of them; all but the first halve the map.
        stem: channels of the first convolution.
        num_classes: outputs of ``fc``.
        in_channels: channels of the images.

    Modules are named as in torchvision's ResNets, less their first max-pool. Convolutions start from a normal
    distribution of variance ``2 / fan_out``, as in the released code of BAM and CBAM; batch norms from 1 and 0.
    """

    def __init__(
        self,
        block: Block,
        stages: Sequence[tuple[int, int]],
        *,
        stem: int,
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, stem)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        widths = [stem, *(channels for _, channels in stages)]
        layers = [
            _stage(block, blocks, width, channels, stride=1 if index == 0 else 2)
            for index, ((blocks, channels), width) in enumerate(zip(stages, widths, strict=False))
        ]
        self.layer1, self.layer2, self.layer3 = layers[:3]
        self.layer4 = layers[3] if len(layers) > 3 else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, num_classes)`` logits."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.layer4 is not None:
            x = self.layer4(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _three_stages(blocks: int, num_classes: int, in_channels: int) -> ResNet:
    """6n + 2 layers at 16, 32 and 64 channels with free shortcuts (He et al. 2016, section 4.2)."""
    block = partial(BasicBlock, shortcut=PaddedShortcut)
    stages = [(blocks, 16), (blocks, 32), (blocks, 64)]
    return ResNet(block, stages, stem=16, num_classes=num_classes, in_channels=in_channels)


def resnet8(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """The shortest of the family, for quick looks: 75,290 parameters for 10 classes."""
    return _three_stages(1, num_classes, in_channels)


def resnet20(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """The 20-layer CIFAR ResNet: 269,722 parameters for 10 classes."""
    return _three_stages(3, num_classes, in_channels)


def resnet56(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """The 56-layer CIFAR ResNet: 853,018 parameters for 10 classes."""
    return _three_stages(9, num_classes, in_channels)


def resnet110(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """The 110-layer CIFAR ResNet: 1,727,962 parameters for 10 classes."""
    return _three_stages(18, num_classes, in_channels)


def resnet18(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ImageNet's ResNet-18 over the small-image stem: 11,220,132 parameters for 100 classes."""
    stages = [(2, 64), (2, 128), (2, 256), (2, 512)]
    return ResNet(BasicBlock, stages, stem=64, num_classes=num_classes, in_channels=in_channels)


def resnet50(num_classes: int = 10, in_channels: int = 3, *, stride_in_1x1: bool = True) -> ResNet:
    """ImageNet's ResNet-50 over the small-image stem: 23,705,252 parameters for 100 classes.

    At 32x32 it takes 1.223 GMACs an image with ``stride_in_1x1``, which is the BAM paper's backbone, and 1.298 without.
    """
    block = partial(Bottleneck, stride_in_1x1=stride_in_1x1)
    stages = [(3, 256), (4, 512), (6, 1024), (3, 2048)]
    return ResNet(block, stages, stem=64, num_classes=num_classes, in_channels=in_channels)
