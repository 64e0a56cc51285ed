"""Networks to put gates into. They know nothing of gates."""

from whatwhere.hosts.cifar import ResNet, resnet18, resnet20, resnet50, resnet56, resnet110
from whatwhere.hosts.naming import Stem, build, names

__all__ = ["ResNet", "Stem", "build", "names", "resnet18", "resnet20", "resnet50", "resnet56", "resnet110"]
