"""A trained network, from whatever the user names: a saved folder, or a host with a checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from whatwhere import hosts
from whatwhere.attach import attach_
from whatwhere.data.streams import IMAGENET
from whatwhere.errors import HostError
from whatwhere.hub import GatedNetwork, NetworkConfig, load_network, load_released
from whatwhere.hub.building import check_tensors, describe_gates
from whatwhere.hub.layouts import recognise
from whatwhere.hub.reading import read_state

__all__ = ["DEMO", "class_numbers", "embedded", "open_network"]

DEMO = ("cbam", "none")
"""The embedded networks: the same ResNet-8, trained on `scenes` with CBAM and without."""
_SIDE = 224
_OWN_SIDE = 32
_IMAGENET_CLASSES = 1000


def embedded(name: str) -> GatedNetwork:
    """One of the networks that come with the package; `DEMO` names them. Nothing is downloaded."""
    return GatedNetwork.load(Path(__file__).parent / "networks" / name)


def open_network(
    model: str,
    *,
    checkpoint: Path | None = None,
    gate: str | None = None,
    at: str | None = None,
    image_size: int | None = None,
    pretrained: bool = False,
) -> GatedNetwork:
    """A network with its weights, on the CPU and in eval mode.

    Args:
        model: a folder that ``save_network`` or ``whatwhere pack`` wrote, or a host's name as ``hosts.build`` takes it.
        checkpoint: of a host: a state dict of torch or safetensors. Keys are those of the network with its gates, or
            of the released code, pytorchcv or timm (``load_released``).
        gate: of a host: the gates that the checkpoint has, as ``attach_`` is told; likewise ``at``.
        at: where they stand; None is the gate's own place.
        image_size: of a host: side of the images; None is what timm says, or 224 (32 for hosts for small images).
        pretrained: of a host: the weights that its library publishes, which are fetched once.

    A host's images are normalised with ImageNet's mean and standard deviation, or with what timm says of its own.
    Outputs have ImageNet's names where a torchvision or timm host has 1000 of them, and are numbered otherwise.

    Raises:
        HostError: there is no such network, it would have random weights, or the checkpoint is another network's; or an
            option says nothing here.
        AttachError, GateError: the gates cannot be attached, or the file cannot be read.
    """
    call = f"explain(model={model!r})"
    if Path(model).is_dir():
        _refuse(call, checkpoint=checkpoint, gate=gate, at=at, image_size=image_size, pretrained=pretrained or None)
        return _saved(Path(model), call)
    outline = hosts.skeleton(model, num_classes=_IMAGENET_CLASSES).state_dict()  # an unknown name ends here
    if checkpoint is None and not pretrained:
        raise HostError(
            f"{call}: without a checkpoint its weights would be random, and its maps would say nothing",
            fix="--checkpoint FILE, --pretrained, or the folder that whatwhere pack wrote",
        )
    if checkpoint is not None and pretrained:
        raise HostError(f"{call}: --checkpoint and --pretrained are two sets of weights", fix="leave one of them out")
    if at is not None and gate is None:
        raise HostError(f"{call}: --at says where gates stand, and none is named", fix="name them by --gate")
    call = f"explain(model={model!r}, checkpoint={None if checkpoint is None else str(checkpoint)!r})"
    state = {} if checkpoint is None else read_state(checkpoint, call).tensors
    classes, stem = _outputs(outline, state), _stem(model, state)
    network = hosts.build(model, num_classes=classes, stem=stem, pretrained=pretrained)
    usual, mean, std = _taken(network, stem)
    side = image_size or usual
    if gate is not None:
        attach_(network, gate, at=at, input_size=(3, side, side))
    if checkpoint is not None:
        _load(network, checkpoint, state, gate, call)
    gates = describe_gates(network, call)
    config = NetworkConfig(model, classes, (side, side), 3, stem, 1.0, gates, _names(model, classes), mean, std)
    return GatedNetwork(config, network).eval()


def class_numbers(classes: Sequence[str]) -> dict[str, int]:
    """Each class by its name, and ImageNet's also by the names of its folders (n01440764)."""
    numbers = {name: number for number, name in enumerate(classes)}
    if len(classes) == _IMAGENET_CLASSES and classes[0] == "tench":
        from timm.data import ImageNetInfo

        numbers |= {name: number for number, name in enumerate(ImageNetInfo().label_names())}
    return numbers


def _refuse(call: str, **given: Any) -> None:
    said = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if said:
        raise HostError(
            f"{call}: a saved folder has its own weights, gates and size", fix=f"leave out {' and '.join(said)}"
        )


def _saved(folder: Path, call: str) -> GatedNetwork:
    if (folder / "trial.json").exists():
        raise HostError(
            f"{call}: this is the folder of a trial, which does not say how images are normalised",
            fix=f"whatwhere pack {folder} --out NETWORK, then explain --model NETWORK",
        )
    return load_network(folder)


def _stem(model: str, state: Mapping[str, Tensor]) -> hosts.Stem:
    """That of the checkpoint's first layers; hosts for small images have two."""
    if model in hosts.names():
        small = hosts.skeleton(model, stem="small").state_dict()
        if all(state[key].shape == small[key].shape for key in list(small)[:1] if key in state):
            return "small"
    return "standard"


def _taken(network: nn.Module, stem: hosts.Stem) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Side, mean and standard deviation of the images that a network takes: timm's say, others take ImageNet's."""
    said = getattr(network, "pretrained_cfg", None) or {}
    side = _OWN_SIDE if stem == "small" else said.get("input_size", (3, _SIDE, _SIDE))[-1]
    return side, tuple(said.get("mean", IMAGENET[0])), tuple(said.get("std", IMAGENET[1]))


def _outputs(outline: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int:
    """How many classes the checkpoint's classifier has: what alone differs from the outline, of 1000."""
    found = {
        len(state[key])
        for key, wanted in outline.items()
        if key in state and wanted.shape[:1] == (_IMAGENET_CLASSES,) and state[key].shape[1:] == wanted.shape[1:]
    }
    return found.pop() if len(found) == 1 else _IMAGENET_CLASSES


def _load(network: nn.Module, checkpoint: Path, state: Mapping[str, Tensor], gate: str | None, call: str) -> None:
    if recognise(state) is not None:
        load_released(network, checkpoint)
        return
    gates = [key for key in state if ".gate." in key]
    if bool(gates) != (gate is not None):
        raise HostError(
            f"{call}: the checkpoint has gates, and none was named"
            if gates
            else f"{call}: the checkpoint has no gates, and {gate!r} was named",
            got=f"{len(gates)} tensors of gates, the first {gates[0]!r}" if gates else f"{len(state)} tensors",
            fix="--gate and --at as the network was made" if gates else "leave out --gate and --at",
        )
    rule = f"{call}: the checkpoint is another network's"
    check_tensors(network.state_dict(), state, rule, "name the host, --gate and --at as the network was made")
    network.load_state_dict(dict(state))


def _names(model: str, classes: int) -> tuple[str, ...]:
    if classes != _IMAGENET_CLASSES or not model.startswith(("torchvision/", "timm/")):
        return tuple(str(number) for number in range(classes))
    from torchvision.models import get_model_weights

    return tuple(get_model_weights("resnet18").DEFAULT.meta["categories"])
