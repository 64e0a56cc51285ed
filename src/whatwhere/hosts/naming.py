"""Networks by name: this package's own, torchvision's and timm's."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import nn

from whatwhere.errors import HostError, closest
from whatwhere.hosts.cifar import resnet8, resnet18, resnet20, resnet50, resnet56, resnet110
from whatwhere.hosts.libraries import from_timm, from_torchvision

__all__ = ["Stem", "build", "names", "skeleton"]

Stem = Literal["standard", "small"]

_OWN: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet8": resnet8,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet50": resnet50,
    "resnet56": resnet56,
    "resnet110": resnet110,
}
_LIBRARIES = {"torchvision": from_torchvision, "timm": from_timm}
_ALL_NAMES = f"{', '.join(map(repr, _OWN))}, 'torchvision/NAME' or 'timm/NAME'"


def names() -> tuple[str, ...]:
    """The networks of this package, by depth; torchvision's and timm's resolve beside them."""
    return tuple(_OWN)


def build(
    name: str, *, num_classes: int = 1000, in_channels: int = 3, stem: Stem = "standard", pretrained: bool = False
) -> nn.Module:
    """Builds the network called ``name``, in training mode, on the CPU, in torch's default dtype.

    Args:
        name: one of ``names()``, ``"torchvision/NAME"`` or ``"timm/NAME"`` (with or without a tag of weights).
        num_classes: outputs of the classifier.
        in_channels: channels of the images. torchvision's first convolution is drawn anew when it is not 3; timm
            adapts its own.
        stem: ``"small"`` turns a strided convolution and its max-pool into a 3x3 convolution of stride 1, drawn anew;
            this package's own networks have that stem already.
        pretrained: whether to start from the weights that the library publishes (a download); a classifier of another
            size than theirs starts fresh.

    Raises:
        HostError: no such network, an option it cannot take, a library that is not installed, or weights that do not
            exist or cannot be fetched.
    """
    call = _call(name, num_classes, in_channels, stem, pretrained)
    library, slash, rest = name.partition("/")
    if slash and library not in _LIBRARIES:
        raise HostError(
            f"{call}: no library goes by {library + slash!r}",
            closest=[f"{known}/{rest}" for known in closest(library, _LIBRARIES)],
            fix=f"one of {_ALL_NAMES}",
        )
    if not slash and name not in _OWN:
        raise HostError(f"{call}: no such network", closest=closest(name, _OWN), fix=f"one of {_ALL_NAMES}")
    for option, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if value < 1:
            raise HostError(f"{call}: {option} must be at least 1")
    if stem not in get_args(Stem):
        raise HostError(f"{call}: a stem is 'standard' or 'small'", closest=closest(stem, get_args(Stem)))
    if slash:
        return _LIBRARIES[library](rest, num_classes, in_channels, stem, pretrained, call)
    if pretrained:
        raise HostError(f"{call}: it has no published weights", fix="pretrained=False")
    return _OWN[name](num_classes, in_channels)


def skeleton(name: str, *, num_classes: int = 1000, in_channels: int = 3, stem: Stem = "standard") -> nn.Module:
    """Builds the network on the meta device, shapes without weights, at once and whatever its size.

    A few of torchvision's compute with tensors while they are built; those come with weights, on the CPU.

    Raises:
        HostError: as ``build``.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build(name, num_classes=num_classes, in_channels=in_channels, stem=stem)
        except NotImplementedError:
            return build(name, num_classes=num_classes, in_channels=in_channels, stem=stem)


def _call(name: str, num_classes: int, in_channels: int, stem: str, pretrained: bool) -> str:
    """The call as the user wrote it, less the options left alone."""
    given = {
        "num_classes": (num_classes, 1000),
        "in_channels": (in_channels, 3),
        "stem": (stem, "standard"),
        "pretrained": (pretrained, False),
    }
    written = [f"{option}={value!r}" for option, (value, default) in given.items() if value != default]
    return f"build({', '.join([repr(name), *written])})"
