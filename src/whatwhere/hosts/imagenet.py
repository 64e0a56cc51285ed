"""ResNets and ResNeXts for large images: a 7x7 stem of stride 2 and a max-pool, as in torchvision."""

from functools import partial

from whatwhere.hosts.blocks import BasicBlock, Block, Bottleneck
from whatwhere.hosts.resnet import ResNet
from whatwhere.hosts.widths import scaled, scaled_stages

__all__ = ["resnet18", "resnet34", "resnet50", "resnet101", "resnext50", "resnext101", "wrn18"]


def _network(
    block: Block, blocks: tuple[int, ...], first: int, num_classes: int, in_channels: int, width: float
) -> ResNet:
    """``blocks`` of each stage; their channels begin with ``first`` and double."""
    multiple = 1 if block is BasicBlock else 4
    stages = scaled_stages([(count, first * 2**index) for index, count in enumerate(blocks)], width, multiple)
    stem = scaled(64, width)
    return ResNet(block, stages, stem=stem, num_classes=num_classes, in_channels=in_channels, large_images=True)


def resnet18(num_classes: int = 1000, in_channels: int = 3, *, width: float = 1.0) -> ResNet:
    """ResNet-18: 11,689,512 parameters, 1.814 GMACs at 224x224."""
    return _network(BasicBlock, (2, 2, 2, 2), 64, num_classes, in_channels, width)


def resnet34(num_classes: int = 1000, in_channels: int = 3, *, width: float = 1.0) -> ResNet:
    """ResNet-34: 21,797,672 parameters, 3.664 GMACs at 224x224."""
    return _network(BasicBlock, (3, 4, 6, 3), 64, num_classes, in_channels, width)


def resnet50(
    num_classes: int = 1000, in_channels: int = 3, *, stride_in_1x1: bool = True, width: float = 1.0
) -> ResNet:
    """ResNet-50: 25,557,032 parameters, 3.858 GMACs at 224x224, or 4.089 with the stride in the 3x3 convolutions."""
    block = partial(Bottleneck, stride_in_1x1=stride_in_1x1)
    return _network(block, (3, 4, 6, 3), 256, num_classes, in_channels, width)


def resnet101(
    num_classes: int = 1000, in_channels: int = 3, *, stride_in_1x1: bool = True, width: float = 1.0
) -> ResNet:
    """ResNet-101: 44,549,160 parameters, 7.570 GMACs at 224x224, or 7.801 with the stride in the 3x3 convolutions."""
    block = partial(Bottleneck, stride_in_1x1=stride_in_1x1)
    return _network(block, (3, 4, 23, 3), 256, num_classes, in_channels, width)


def resnext50(
    num_classes: int = 1000, in_channels: int = 3, *, stride_in_1x1: bool = True, width: float = 1.0
) -> ResNet:
    """ResNeXt-50 32x4d: 25,028,904 parameters, 3.768 GMACs at 224x224, or 4.230 with the stride in the 3x3."""
    block = partial(Bottleneck, stride_in_1x1=stride_in_1x1, groups=32, group_width=4)
    return _network(block, (3, 4, 6, 3), 256, num_classes, in_channels, width)


def resnext101(
    num_classes: int = 1000, in_channels: int = 3, *, stride_in_1x1: bool = True, width: float = 1.0
) -> ResNet:
    """ResNeXt-101 32x4d: 44,177,704 parameters, 7.508 GMACs at 224x224, or 7.970 with the stride in the 3x3."""
    block = partial(Bottleneck, stride_in_1x1=stride_in_1x1, groups=32, group_width=4)
    return _network(block, (3, 4, 23, 3), 256, num_classes, in_channels, width)


def wrn18(num_classes: int = 1000, in_channels: int = 3, *, widening: float = 1.5, width: float = 1.0) -> ResNet:
    """ResNet-18 with ``widening`` times the channels in its stages, the stem left alone.

    For ``widening`` 1.5 and 2.0: 25,875,816 and 45,618,216 parameters, 3.866 and 6.696 GMACs at 224x224.

    Source: Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, section 3 (ImageNet).
    """
    return _network(BasicBlock, (2, 2, 2, 2), int(64 * widening), num_classes, in_channels, width)
