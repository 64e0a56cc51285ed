"""Networks to put gates into. They know nothing of gates."""

from whatwhere.hosts import imagenet
from whatwhere.hosts.cifar import (
    resnet8,
    resnet18,
    resnet20,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnext29,
)
from whatwhere.hosts.densenet import DenseNet, densenet100
from whatwhere.hosts.mobilenet import MobileNet, mobilenet
from whatwhere.hosts.naming import Stem, block, build, names, skeleton
from whatwhere.hosts.preactivation import PreResNet, preresnet110, preresnet164, wrn28
from whatwhere.hosts.pyramidnet import PyramidNet, pyramidnet110
from whatwhere.hosts.resnet import ResNet

__all__ = [
    "DenseNet",
    "MobileNet",
    "PreResNet",
    "PyramidNet",
    "ResNet",
    "Stem",
    "block",
    "build",
    "densenet100",
    "imagenet",
    "mobilenet",
    "names",
    "preresnet110",
    "preresnet164",
    "pyramidnet110",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnext29",
    "skeleton",
    "wrn28",
]
