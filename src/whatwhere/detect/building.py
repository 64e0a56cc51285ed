"""Detectors by name: 'fasterrcnn-resnet50-fpn', or 'stairnet300-vgg16:weights=imagenet'."""

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
              ``group`` (group norms, fresh, in place of all batch norms). By default frozen in Faster R-CNN, RetinaNet
              and FCOS with weights, as in torchvision, else batch.
            - ``weights=none``, ``imagenet`` (torchvision's for the trunk), ``coco`` (torchvision's for the detector;
              predictors of another number of classes start fresh) or a file with a state dict of the trunk or of the
              whole detector.
            - ``trainable=0`` to ``5``: how many parts of a ResNet learn, counted from its end; 3 by default with
              weights, else 5.
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
    if classes < 1:
        raise HostError(f"{call}: classes must be at least 1")
    if image_size is not None and image_size < network.least:
        raise HostError(f"{call}: its images are at least {network.least} pixels a side")
    model = network.detector(classes + 1)
    source = options.get("weights", "none")
    if weights:
        _load(model, network, source, call)
    _norms(model, network, options, call)
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
            raise HostError(f"{call}: {option} is set twice", got=f"{options[option]!r} and {value!r}")
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


def _check(network: "Network", options: dict[str, str], call: str) -> None:
    norm, weights, trainable = (options.get(option) for option in _OPTIONS)
    if norm is not None and norm not in _NORMS:
        raise HostError(f"{call}: a norm is batch, frozen or group", closest=closest(norm, _NORMS))
    if weights == "imagenet" and network.imagenet is None:
        raise HostError(f"{call}: torchvision publishes no weights of its trunk", fix=_instead(network))
    if weights == "coco" and network.coco is None:
        raise HostError(f"{call}: torchvision publishes no weights of this detector", fix=_instead(network))
    if norm == "frozen" and weights in (None, "none"):
        raise HostError(f"{call}: norms can be frozen once weights were loaded", fix="norm=group, or weights")
    if trainable is None:
        return
    if not network.stages:
        raise HostError(f"{call}: trainable counts the parts of a ResNet, which its trunk is not")
    if trainable not in ("0", "1", "2", "3", "4", "5"):
        raise HostError(f"{call}: trainable is a number from 0 to 5")
    if weights in (None, "none"):
        raise HostError(f"{call}: without weights all parts have to learn", fix="leave trainable out, or weights")


def _instead(network: "Network") -> str:
    known = {"imagenet": network.imagenet, "coco": network.coco}
    return ", ".join(f"weights={one}" for one in (*(name for name, there in known.items() if there), "FILE", "none"))


def _load(model: nn.Module, network: "Network", source: str, call: str) -> None:
    from whatwhere.detect.networks.weights import load_file_, load_published_, load_trunk_

    if source == "imagenet":
        assert network.imagenet is not None
        load_trunk_(model, network.imagenet, network.trunk, call)
    elif source == "coco":
        assert network.coco is not None
        load_published_(model, network.coco, call)
    elif source != "none":
        load_file_(model, Path(source), network.trunk, call)


def _norms(model: nn.Module, network: "Network", options: dict[str, str], call: str) -> None:
    from whatwhere.detect.networks.norms import batch_norms, freeze_norms_, group_norms_

    loaded = options.get("weights", "none") != "none"
    norm = options.get("norm", "frozen" if network.frozen and loaded else "batch")
    where = network.trunk.values() if norm == "frozen" and network.trunk else ("",)
    if "norm" in options and not batch_norms(model, where):
        raise HostError(f"{call}: there are no norms in its {'trunk' if norm == 'frozen' else 'layers'}")
    if norm == "frozen":
        freeze_norms_(model, where)
    elif norm == "group":
        group_norms_(model)


def _keep_first_stages(model: nn.Module, network: "Network", trainable: int) -> None:
    """Lets no gradient into the first parts of a ResNet; the norm behind its first convolution goes with the fifth."""
    learning = set(_STAGES[: trainable if trainable < 5 else None])
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(network.trunk.values())) and not learning & set(name.split(".")):
            parameter.requires_grad_(False)


def _resize(model: nn.Module, size: int) -> None:
    transform: Any = model.transform
    if transform.fixed_size is None:
        transform.min_size, transform.max_size = (size,), round(size * 5 / 3)
    elif transform.fixed_size != (size, size):
        transform.fixed_size, transform.min_size, transform.max_size = (size, size), (size,), size
        anchors: Any = model.anchor_generator
        anchors.steps = None
