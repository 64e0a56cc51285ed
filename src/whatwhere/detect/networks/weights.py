"""Weights for a detector: published ones and files, of its trunk alone or of the whole."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from whatwhere.errors import HostError, first_line

__all__ = ["load_published_", "load_state_", "load_trunk_", "read_state"]

# A classifier has no place in a detector and may be left over.
_CLASSIFIERS = ("fc.", "classifier.")
_FILES = "torch.save(model.state_dict(), ...), or safetensors"
# Tensors of each kind that a message names.
_NAMED = 3


def load_trunk_(model: nn.Module, weights: str, places: Mapping[str, str], call: str) -> None:
    """Loads torchvision's trunk called ``weights`` ('ResNet50_Weights.IMAGENET1K_V1') into a detector, in place.

    Raises:
        HostError: it cannot be fetched.
    """
    try:
        state = models.get_weight(weights).get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise _no_download(call, error) from error
    _load(model, _placed(state, places), tuple(places.values()), call, weights)


def load_published_(model: nn.Module, name: str, outputs: Collection[str], call: str) -> None:
    """Loads torchvision's detector called ``name``, trained on COCO, in place, but for the modules ``outputs``.

    Raises:
        HostError: it cannot be fetched.
    """
    try:
        other = models.get_model(name, weights="DEFAULT", progress=False)
    except OSError as error:
        raise _no_download(call, error) from error
    state = {key: tensor for key, tensor in other.state_dict().items() if key.rpartition(".")[0] not in outputs}
    model.load_state_dict(state, strict=False)


def load_state_(
    model: nn.Module, state: Mapping[str, Tensor], places: Mapping[str, str], call: str, source: str
) -> None:
    """Loads a file's tensors into a detector, in place.

    They are of the whole detector, or of its trunk under the names of the trunk's own library; then a classifier may
    be left over. All else has to fit, both ways.

    Raises:
        HostError: tensors that do not fit: how many, and the first of each kind.
    """
    if any(key in model.state_dict() for key in state):
        _load(model, state, ("",), call, source)
    else:
        _load(model, _placed(state, places), tuple(places.values()), call, source)


def _load(model: nn.Module, state: Mapping[str, Tensor], beginnings: tuple[str, ...], call: str, source: str) -> None:
    own = model.state_dict()
    misfits = {key for key, tensor in state.items() if key in own and own[key].shape != tensor.shape}
    found = model.load_state_dict({key: state[key] for key in state if key not in misfits}, strict=False)
    missing = [key for key in found.missing_keys if key.startswith(beginnings) and key not in misfits]
    wrong = {
        "of another shape": [f"{key} {list(state[key].shape)} for {list(own[key].shape)}" for key in sorted(misfits)],
        "missing": missing,
        "unknown": found.unexpected_keys,
    }
    if any(wrong.values()):
        got = "; ".join(f"{len(keys)} {what}: {_first(keys)}" for what, keys in wrong.items() if keys)
        fix = "weights of this very trunk or detector, and the norm= that they were trained with"
        raise HostError(f"{call}: {source} does not fit", got=got, fix=fix)


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")


def _placed(state: Mapping[str, Tensor], places: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of a trunk under the detector's names, without the classifier; names that fit nowhere stay."""
    return {_place(key, places): tensor for key, tensor in state.items() if not key.startswith(_CLASSIFIERS)}


def _place(key: str, places: Mapping[str, str]) -> str:
    for before, after in places.items():
        if key.startswith(before):
            return after + key.removeprefix(before)
    return key


def read_state(path: Path, call: str) -> dict[str, Tensor]:
    """Reads a state dict from a file of torch or of safetensors, to the CPU.

    Raises:
        HostError: the file cannot be read or holds something else.
    """
    if not path.is_file():
        raise HostError(f"{call}: there is no such file", got=str(path), fix="none, imagenet, coco or a file")
    try:
        state = _parsed(path)
    except Exception as error:
        raise HostError(f"{call}: {path.name} cannot be read", got=first_line(error), fix=_FILES) from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise HostError(
            f"{call}: {path.name} is no state dict",
            got=type(state).__name__ if not isinstance(state, dict) else f"a dict of {_first([*map(str, state)])}",
            fix=_FILES,
        )
    return state


def _parsed(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _no_download(call: str, error: OSError) -> HostError:
    return HostError(
        f"{call}: the published weights could not be fetched",
        got=first_line(error) or type(error).__name__,
        fix=f"the file copied into {torch.hub.get_dir()}/checkpoints, or weights=none",
    )
