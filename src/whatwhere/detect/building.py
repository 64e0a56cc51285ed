"""Detectors by name: 'fasterrcnn-resnet50-fpn', or 'stairnet300-vgg16:weights=imagenet'."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from whatwhere.errors import HostError, closest

if TYPE_CHECKING:
    from whatwhere.detect.networks.catalogue import Network

__all__ = ["build", "names", "skeleton"]

_LIBRARY = "torchvision/"
_OPTIONS = ("norm", "weights", "trainable")
_NORMS = ("batch", "frozen", "group")
_SOURCES = ("none", "imagenet", "coco")
_STAGES = ("layer4", "layer3", "layer2", "layer1", "conv1", "bn1")


def names() -> tuple[str, ...]:
    """The detectors of this package, then torchvision's.

    Raises:
        HostError: torchvision is not installed.
    """
    from whatwhere.detect.networks.catalogue import OWN, published_names

    return (*OWN, *(_LIBRARY + name for name in published_names()))


def build(name: str, classes: int, *, image_size: int | None = None, weights: bool = True) -> nn.Module:
    """Builds the detector called ``name``, in training mode, on the CPU.

    It behaves as torchvision's do: in training ``model(images, targets)`` gives a dict of losses, else
    ``model(images)`` a list of dicts of ``boxes``, ``labels`` and ``scores``. Images are float (3, H, W) in 0..1, of
    any size; labels count from 1.

    Args:
        name: one of ``names()``, and options after colons:

            - ``norm=batch``, ``frozen`` (batch norms of the trunk keep their statistics, weights and biases) or
              ``group`` (group norms in place of all batch norms, fresh unless a file has them). By default frozen in
              Faster R-CNN, RetinaNet and FCOS with weights, as in torchvision, else batch.
            - ``weights=none``, ``imagenet`` (torchvision's for the trunk; SSDlite's is wider then, as there), ``coco``
              (torchvision's for the detector, but for the outputs that count classes: they start fresh, whatever the
              number, and a warning names them) or a file with a state dict of the trunk, whose classifier is left
              over, or of the whole detector. The file is known by its path: trials of one name take what it holds
              to be the same.
            - ``trainable=0`` to ``5``: how many parts of a ResNet learn, counted from its end; 3 by default with
              weights, else 5. Group norms learn in all of them.
        classes: without the background.
        image_size: an SSD brings its images to squares of that side, where anchors keep their relative places; the
            others bring the shorter side to it and the longer to at most five thirds. None: as the detector does.
        weights: whether to load what the name says of weights; False builds the same modules for a checkpoint.

    Raises:
        HostError: no such detector, an option that it cannot have, weights that cannot be fetched, read or placed, or
            torchvision is not installed.
    """
    given = {"image_size": image_size} if image_size is not None else {}
    call = f"build({', '.join([repr(name), str(classes), *(f'{key}={value}' for key, value in given.items())])})"
    plain, options = _parsed(name, call)
    network = _network(plain, call)
    _check(network, options, call)
    _check_numbers(network, classes, image_size, call)
    source = options.get("weights", "none")
    make = network.for_imagenet if source == "imagenet" and network.for_imagenet else network.detector
    model = make(classes + 1)
    _fill(model, network, options, call, load=weights)
    if network.stages and source != "none":
        _keep_first_stages(model, network, int(options.get("trainable", 3)))
    if image_size is not None:
        _resize(model, image_size)
    return model


def skeleton(name: str, classes: int, *, image_size: int | None = None) -> nn.Module:
    """Builds the detector on the meta device, shapes without weights; what the name says of weights is not read.

    Raises:
        HostError: as ``build``.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build(name, classes, image_size=image_size, weights=False)


def _parsed(text: str, call: str) -> tuple[str, dict[str, str]]:
    name, *said = text.split(":")
    options: dict[str, str] = {}
    for part in said:
        option, equals, value = part.partition("=")
        if not equals:
            raise HostError(f"{call}: {part!r} sets nothing", fix="write name:option=value:option=value")
        if option not in _OPTIONS:
            raise HostError(
                f"{call}: a detector has no option {option!r}",
                closest=closest(option, _OPTIONS),
                fix=f"one of {', '.join(_OPTIONS)}",
            )
        if option in options:
            raise HostError(
                f"{call}: {option} is set twice", got=f"{options[option]!r} and {value!r}", fix="set it once"
            )
        options[option] = value
    return name, options


def _network(name: str, call: str) -> "Network":
    try:
        import torchvision  # noqa: F401
    except ImportError as error:
        raise HostError(f"{call}: torchvision is not installed", fix="pip install 'whatwhere[lab]'") from error
    from whatwhere.detect.networks.catalogue import OWN, published, published_names

    if name in OWN:
        return OWN[name]
    if name.removeprefix(_LIBRARY) in published_names() and name.startswith(_LIBRARY):
        return published(name.removeprefix(_LIBRARY))
    raise HostError(f"{call}: no such detector", closest=closest(name, names()), fix=f"one of {', '.join(names())}")


def _check_numbers(network: "Network", classes: int, image_size: int | None, call: str) -> None:
    if classes < 1:
        raise HostError(
            f"{call}: classes must be at least 1", got=str(classes), fix="how many there are without the background"
        )
    if image_size is not None and image_size < network.least:
        raise HostError(
            f"{call}: its images are at least {network.least} pixels a side",
            got=str(image_size),
            fix=f"image_size={network.least} or more",
        )


def _check(network: "Network", options: dict[str, str], call: str) -> None:
    norm, weights, trainable = (options.get(option) for option in _OPTIONS)
    if norm is not None and norm not in _NORMS:
        raise HostError(
            f"{call}: a norm is batch, frozen or group",
            got=repr(norm),
            closest=closest(norm, _NORMS),
            fix="norm=batch, or leave it out",
        )
    if weights == "imagenet" and network.imagenet is None:
        raise HostError(f"{call}: torchvision publishes no weights of its trunk", fix=_instead(network))
    if weights == "coco" and network.coco is None:
        raise HostError(f"{call}: torchvision publishes no weights of this detector", fix=_instead(network))
    if norm == "frozen" and weights in (None, "none"):
        raise HostError(f"{call}: norms can be frozen once weights were loaded", fix="norm=group, or weights")
    if trainable is None:
        return
    if not network.stages:
        raise HostError(
            f"{call}: trainable counts the parts of a ResNet, which its trunk is not", fix="leave trainable out"
        )
    if trainable not in ("0", "1", "2", "3", "4", "5"):
        raise HostError(f"{call}: trainable is a number from 0 to 5", got=repr(trainable), fix="trainable=3")
    if weights in (None, "none"):
        raise HostError(f"{call}: without weights all parts have to learn", fix="leave trainable out, or weights")


def _instead(network: "Network") -> str:
    known = {"imagenet": network.imagenet, "coco": network.coco}
    return ", ".join(f"weights={one}" for one in (*(name for name, there in known.items() if there), "FILE", "none"))


def _fill(model: nn.Module, network: "Network", options: dict[str, str], call: str, *, load: bool) -> None:
    """Loads weights and swaps norms: those last, but for a file of group norms, which has to find some."""
    from whatwhere.detect.networks.weights import load_published_, load_state_, load_trunk_, read_state

    source = options.get("weights", "none")
    path = Path(source) if load and source not in _SOURCES else None
    state = read_state(path, call) if path is not None else {}
    grouped = path is not None and options.get("norm") == "group" and not any("running_mean" in key for key in state)
    if grouped:
        _norms(model, network, options, call)
    if path is not None:
        load_state_(model, state, network.trunk, call, path.name)
    elif load and source == "imagenet":
        assert network.imagenet is not None
        load_trunk_(model, network.imagenet, network.trunk, call)
    elif load and source == "coco":
        assert network.coco is not None
        outputs = _class_outputs(network)
        load_published_(model, network.coco, outputs, call)
        warnings.warn(f"{call}: these start fresh, not as on COCO: {', '.join(outputs)}", stacklevel=3)
    if not grouped:
        _norms(model, network, options, call)


def _class_outputs(network: "Network") -> tuple[str, ...]:
    """The modules whose tensors grow with the number of classes."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        fewer, more = (network.detector(classes).state_dict() for classes in (2, 3))
    return tuple(dict.fromkeys(key.rpartition(".")[0] for key in more if more[key].shape != fewer[key].shape))


def _norms(model: nn.Module, network: "Network", options: dict[str, str], call: str) -> None:
    from whatwhere.detect.networks.norms import batch_norms, freeze_norms_, group_norms_

    source = options.get("weights", "none")
    norm = options.get("norm", "frozen" if network.frozen and source != "none" else "batch")
    where = tuple(network.trunk.values()) if norm == "frozen" else ("",)
    if "norm" in options and not batch_norms(model, where):
        part = "trunk" if norm == "frozen" else "layers"
        raise HostError(f"{call}: there are no norms in its {part}", got=f"norm={norm}", fix="leave norm out")
    if source == "coco" and network.without_eps:
        for _, module in batch_norms(model):
            module.eps = 0.0
    if norm == "frozen":
        freeze_norms_(model, where)
    elif norm == "group":
        group_norms_(model)


def _keep_first_stages(model: nn.Module, network: "Network", trainable: int) -> None:
    """Lets no gradient into the first parts of a ResNet; the norm behind its first convolution goes with the fifth.

    Group norms learn: they may be fresh.
    """
    learning = set(_STAGES[: trainable if trainable < 5 else None])
    for name, module in model.named_modules():
        inside = f"{name}.".startswith(tuple(network.trunk.values())) and not learning & set(name.split("."))
        if inside and not isinstance(module, nn.GroupNorm):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)


def _resize(model: nn.Module, size: int) -> None:
    transform: Any = model.transform
    if transform.fixed_size is None:
        transform.min_size, transform.max_size = (size,), round(size * 5 / 3)
    elif transform.fixed_size != (size, size):
        transform.fixed_size, transform.min_size, transform.max_size = (size, size), (size,), size
        anchors: Any = model.anchor_generator
        anchors.steps = None
