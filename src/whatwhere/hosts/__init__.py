"""Networks to put gates into. They know nothing of gates."""

from whatwhere.hosts.cifar import ResNet, resnet8, resnet18, resnet20, resnet50, resnet56, resnet110
from whatwhere.hosts.naming import Stem, build, names, skeleton

__all__ = [
    "ResNet",
    "Stem",
    "build",
    "names",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet50",
    "resnet56",
    "resnet110",
    "skeleton",
]
