"""Networks by name: this package's own, torchvision's and timm's."""

from collections.abc import Callable
from math import inf
from typing import Literal, get_args

import torch
from torch import nn

from whatwhere.errors import HostError, closest
from whatwhere.hosts.blocks import draw_convolutions_
from whatwhere.hosts.libraries import from_timm, from_torchvision
from whatwhere.hosts.own import OWN
from whatwhere.hosts.stem import small_stem_

__all__ = ["Stem", "block", "build", "names", "skeleton"]

Stem = Literal["standard", "small"]

_LIBRARIES = {"torchvision": from_torchvision, "timm": from_timm}
_LISTING = f"one of {', '.join(map(repr, OWN))}, 'torchvision/NAME' or 'timm/NAME'"


def names() -> tuple[str, ...]:
    """The networks of this package, for small images and then for ImageNet; torchvision's and timm's resolve beside."""
    return tuple(OWN)


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    stem: Stem = "standard",
    pretrained: bool = False,
    width: float = 1.0,
) -> nn.Module:
    """Builds the network called ``name``, in training mode, on the CPU, in torch's default dtype.

    Args:
        name: one of ``names()``, ``"torchvision/NAME"`` or ``"timm/NAME"`` (with or without a tag of weights).
        num_classes: outputs of the classifier.
        in_channels: channels of the images. torchvision's first convolution is drawn anew when it is not 3; timm
            adapts its own.
        stem: ``"small"`` turns a strided convolution and its max-pool into a 3x3 convolution of stride 1, drawn anew;
            this package's networks for small images have that stem already.
        pretrained: whether to start from the weights that the library publishes (a download); a classifier of another
            size than theirs starts fresh.
        width: factor of every channel count of one of this package's networks, each rounded to what its layer can
            have: a multiple of 4 at the ends of bottleneck blocks, and of the groups inside ResNeXt's.

    Raises:
        HostError: no such network, an option it cannot take, a library that is not installed, or weights that do not
            exist or cannot be fetched.
    """
    call = _call(name, num_classes, in_channels, stem, pretrained, width)
    _check_name(name, call)
    for option, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if value < 1:
            raise HostError(f"{call}: {option} must be at least 1")
    if stem not in get_args(Stem):
        raise HostError(f"{call}: a stem is 'standard' or 'small'", closest=closest(stem, get_args(Stem)))
    if not 0 < width < inf:
        raise HostError(f"{call}: width must be a positive number")
    if name not in OWN:
        library, _, rest = name.partition("/")
        if width != 1:
            raise HostError(f"{call}: only this package's own networks can be scaled", fix="width=1.0")
        return _LIBRARIES[library](rest, num_classes, in_channels, stem, pretrained, call)
    if pretrained:
        raise HostError(f"{call}: it has no published weights", fix="pretrained=False")
    model = OWN[name].network(num_classes, in_channels, width=width)
    if stem == "small" and name.startswith("imagenet/"):
        small_stem_(model, call)
    return model


def skeleton(
    name: str, *, num_classes: int = 1000, in_channels: int = 3, stem: Stem = "standard", width: float = 1.0
) -> nn.Module:
    """Builds the network on the meta device, shapes without weights, at once and whatever its size.

    A few of torchvision's compute with tensors while they are built; those come with weights, on the CPU.

    Raises:
        HostError: as ``build``.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build(name, num_classes=num_classes, in_channels=in_channels, stem=stem, width=width)
        except NotImplementedError:
            return build(name, num_classes=num_classes, in_channels=in_channels, stem=stem, width=width)


def block(name: str) -> Callable[[int], nn.Module]:
    """The residual block that one of this package's networks repeats, as ``channels -> nn.Module``.

    The block keeps channels and size and starts as the network's own do. ``plan`` and ``attach_`` take it for a gate:
    the host made deeper where a gate would stand, as in table 1c of the BAM paper.

    Raises:
        HostError: no such network, or one without residual blocks; when called: channels that the block cannot have.
    """
    call = f"block({name!r})"
    _check_name(name, call)
    kind = OWN[name].block if name in OWN else None
    if kind is None:
        without = ", ".join(repr(known) for known, own in OWN.items() if own.block is None)
        why = "it has no residual blocks" if name in OWN else "only the blocks of this package's own networks are known"
        raise HostError(f"{call}: {why}", fix=f"one of hosts.names() but {without}")

    def keeping(channels: int) -> nn.Module:
        try:
            module = kind(channels, channels, 1)
        except HostError as error:
            raise HostError(f"{call}({channels}): {error.rule}") from error
        draw_convolutions_(module)
        return module

    keeping.__name__ = call
    return keeping


def _check_name(name: str, call: str) -> None:
    library, slash, rest = name.partition("/")
    if name in OWN or (slash and library in _LIBRARIES):
        return
    if slash and library != "imagenet":
        near = [f"{known}/{rest}" for known in closest(library, (*_LIBRARIES, "imagenet"))]
        raise HostError(f"{call}: no library goes by {library + slash!r}", closest=near, fix=_LISTING)
    raise HostError(f"{call}: no such network", closest=closest(name, OWN), fix=_LISTING)


def _call(name: str, num_classes: int, in_channels: int, stem: str, pretrained: bool, width: float) -> str:
    """The call as the user wrote it, less the options left alone."""
    given = {
        "num_classes": (num_classes, 1000),
        "in_channels": (in_channels, 3),
        "stem": (stem, "standard"),
        "pretrained": (pretrained, False),
        "width": (width, 1.0),
    }
    written = [f"{option}={value!r}" for option, (value, default) in given.items() if value != default]
    return f"build({', '.join([repr(name), *written])})"
