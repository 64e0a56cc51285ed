"""ResNets and ResNeXts for small images: a 3x3 stem of stride 1 and no pooling before the first stage."""

from functools import partial

from whatwhere.hosts.blocks import BasicBlock, Bottleneck, PaddedShortcut
from whatwhere.hosts.resnet import ResNet
from whatwhere.hosts.widths import scaled, scaled_stages

__all__ = [
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnext29",
]


def _three_stages(blocks: int, num_classes: int, in_channels: int, width: float) -> ResNet:
    """6n + 2 layers at 16, 32 and 64 channels with free shortcuts (He et al. 2016, section 4.2)."""
    block = partial(BasicBlock, shortcut=PaddedShortcut)
    stages = scaled_stages([(blocks, 16), (blocks, 32), (blocks, 64)], width)
    return ResNet(block, stages, stem=scaled(16, width), num_classes=num_classes, in_channels=in_channels)


def resnet8(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> ResNet:
    """The shortest of the family, for quick looks: 75,290 parameters for 10 classes."""
    return _three_stages(1, num_classes, in_channels, width)


def resnet20(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> ResNet:
    """The 20-layer CIFAR ResNet: 269,722 parameters for 10 classes."""
    return _three_stages(3, num_classes, in_channels, width)


def resnet56(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> ResNet:
    """The 56-layer CIFAR ResNet: 853,018 parameters for 10 classes."""
    return _three_stages(9, num_classes, in_channels, width)


def resnet110(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> ResNet:
    """The 110-layer CIFAR ResNet: 1,727,962 parameters for 10 classes."""
    return _three_stages(18, num_classes, in_channels, width)


def resnet18(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> ResNet:
    """ImageNet's ResNet-18 over the small-image stem: 11,220,132 parameters for 100 classes."""
    stages = scaled_stages([(2, 64), (2, 128), (2, 256), (2, 512)], width)
    return ResNet(BasicBlock, stages, stem=scaled(64, width), num_classes=num_classes, in_channels=in_channels)


def _four_stages(third: int, num_classes: int, in_channels: int, stride_in_1x1: bool, width: float) -> ResNet:
    """Bottleneck blocks, ``third`` of them in the third stage (He et al. 2016, table 1)."""
    block = partial(Bottleneck, stride_in_1x1=stride_in_1x1)
    stages = scaled_stages([(3, 256), (4, 512), (third, 1024), (3, 2048)], width, 4)
    return ResNet(block, stages, stem=scaled(64, width), num_classes=num_classes, in_channels=in_channels)


def resnet50(num_classes: int = 10, in_channels: int = 3, *, stride_in_1x1: bool = True, width: float = 1.0) -> ResNet:
    """ImageNet's ResNet-50 over the small-image stem: 23,705,252 parameters for 100 classes.

    At 32x32 it takes 1.223 GMACs an image with ``stride_in_1x1``, which is the BAM paper's backbone, and 1.298 without.
    """
    return _four_stages(6, num_classes, in_channels, stride_in_1x1, width)


def resnet101(num_classes: int = 10, in_channels: int = 3, *, stride_in_1x1: bool = True, width: float = 1.0) -> ResNet:
    """ImageNet's ResNet-101 over the small-image stem: 42,697,380 parameters for 100 classes.

    At 32x32 it takes 2.435 GMACs an image with ``stride_in_1x1``, which is the BAM paper's backbone, and 2.510 without.
    """
    return _four_stages(23, num_classes, in_channels, stride_in_1x1, width)


def resnext29(
    num_classes: int = 10, in_channels: int = 3, *, groups: int = 8, stride_in_1x1: bool = True, width: float = 1.0
) -> ResNet:
    """The 29-layer CIFAR ResNeXt with groups of 64 channels: 34,518,948 parameters for 100 classes and 8 groups.

    16 groups make it 68,247,460. At 32x32 they take 4.985 and 9.884 GMACs with ``stride_in_1x1``, which are the BAM
    paper's backbones, and 5.387 and 10.689 without, where Xie et al. put the stride.

    Source: Xie et al., Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017, section 5.3.
    """
    block = partial(Bottleneck, stride_in_1x1=stride_in_1x1, groups=groups)
    stages = scaled_stages([(3, 256), (3, 512), (3, 1024)], width, 4)
    return ResNet(block, stages, stem=scaled(64, width), num_classes=num_classes, in_channels=in_channels)
