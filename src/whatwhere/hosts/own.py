"""This package's own networks by name, and the residual block that each repeats."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from whatwhere.hosts import cifar, imagenet
from whatwhere.hosts.blocks import BasicBlock, Block, Bottleneck
from whatwhere.hosts.densenet import densenet100
from whatwhere.hosts.mobilenet import mobilenet
from whatwhere.hosts.preactivation import PreBasicBlock, PreBottleneck, preresnet110, preresnet164, wrn28
from whatwhere.hosts.pyramidnet import PyramidBlock, pyramidnet110

__all__ = ["OWN", "Own"]


@dataclass(frozen=True)
class Own:
    """One of this package's networks.

    Attributes:
        network: ``(num_classes, in_channels, *, width) -> nn.Module``.
        block: its residual block, ``(in_channels, out_channels, stride) -> nn.Module``; None where it has none.
    """

    network: Callable[..., nn.Module]
    block: Block | None = None


OWN = {
    "resnet8": Own(cifar.resnet8, BasicBlock),
    "resnet18": Own(cifar.resnet18, BasicBlock),
    "resnet20": Own(cifar.resnet20, BasicBlock),
    "resnet50": Own(cifar.resnet50, Bottleneck),
    "resnet56": Own(cifar.resnet56, BasicBlock),
    "resnet101": Own(cifar.resnet101, Bottleneck),
    "resnet110": Own(cifar.resnet110, BasicBlock),
    "preresnet110": Own(preresnet110, PreBasicBlock),
    "preresnet164": Own(preresnet164, PreBottleneck),
    "wrn28-8": Own(partial(wrn28, widening=8), PreBasicBlock),
    "wrn28-10": Own(partial(wrn28, widening=10), PreBasicBlock),
    "resnext29-8x64d": Own(partial(cifar.resnext29, groups=8), partial(Bottleneck, groups=8)),
    "resnext29-16x64d": Own(partial(cifar.resnext29, groups=16), partial(Bottleneck, groups=16)),
    "densenet100-bc-k12": Own(densenet100),
    "pyramidnet110-a270": Own(pyramidnet110, PyramidBlock),
    "imagenet/resnet18": Own(imagenet.resnet18, BasicBlock),
    "imagenet/resnet34": Own(imagenet.resnet34, BasicBlock),
    "imagenet/resnet50": Own(imagenet.resnet50, Bottleneck),
    "imagenet/resnet101": Own(imagenet.resnet101, Bottleneck),
    "imagenet/resnext50-32x4d": Own(imagenet.resnext50, partial(Bottleneck, groups=32, group_width=4)),
    "imagenet/resnext101-32x4d": Own(imagenet.resnext101, partial(Bottleneck, groups=32, group_width=4)),
    "imagenet/wrn18-1.5": Own(partial(imagenet.wrn18, widening=1.5), BasicBlock),
    "imagenet/wrn18-2.0": Own(partial(imagenet.wrn18, widening=2.0), BasicBlock),
    "imagenet/mobilenet": Own(mobilenet),
    "imagenet/mobilenet-0.7": Own(partial(mobilenet, alpha=0.7)),
}
