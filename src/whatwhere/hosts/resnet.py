"""Residual networks of three or four stages over either stem."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from whatwhere.hosts.blocks import Block, conv3x3, draw_convolutions_, stage

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """A residual network of three or four stages.

    Args:
        block: ``(in_channels, out_channels, stride) -> nn.Module``.
        stages: ``(blocks, channels)`` of each stage, three or four of them; all but the first halve the map.
        stem: channels of the first convolution.
        num_classes: outputs of ``fc``.
        in_channels: channels of the images.
        large_images: whether the first convolution is ImageNet's, 7x7 with stride 2 and a max-pool behind it, or
            CIFAR's, 3x3 with stride 1 and no pool.

    Modules are named as in torchvision's ResNets. Convolutions start from a normal distribution of variance
    ``2 / fan_out``, as in the released code of BAM and CBAM; batch norms from 1 and 0.
    """

    def __init__(
        self,
        block: Block,
        stages: Sequence[tuple[int, int]],
        *,
        stem: int,
        num_classes: int,
        in_channels: int = 3,
        large_images: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = (
            nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False)
            if large_images
            else conv3x3(in_channels, stem)
        )
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large_images else None
        widths = [stem, *(channels for _, channels in stages)]
        layers = [
            stage(block, blocks, width, channels, stride=1 if index == 0 else 2)
            for index, ((blocks, channels), width) in enumerate(zip(stages, widths, strict=False))
        ]
        self.layer1, self.layer2, self.layer3 = layers[:3]
        self.layer4 = layers[3] if len(layers) > 3 else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], num_classes)
        draw_convolutions_(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, num_classes)`` logits."""
        x = self.relu(self.bn1(self.conv1(x)))
        if self.maxpool is not None:
            x = self.maxpool(x)
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.layer4 is not None:
            x = self.layer4(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits
