"""Weights for a detector: published ones and files, of its trunk alone or of the whole."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import FrozenBatchNorm2d

from whatwhere.errors import HostError, first_line

__all__ = ["load_file_", "load_published_", "load_trunk_"]

# A classifier has no place in a detector and may be left over.
_CLASSIFIERS = ("fc.", "classifier.")


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


def load_published_(model: nn.Module, name: str, call: str) -> None:
    """Loads torchvision's detector called ``name``, which was trained on COCO, in place.

    Predictors of another number of classes keep their fresh weights, tensor by tensor; all else is loaded.

    Raises:
        HostError: it cannot be fetched.
    """
    try:
        other = models.get_model(name, weights="DEFAULT", progress=False)
    except OSError as error:
        raise _no_download(call, error) from error
    own = model.state_dict()
    state = {key: tensor for key, tensor in other.state_dict().items() if own[key].shape == tensor.shape}
    model.load_state_dict(state, strict=False)
    # Two of them were trained without what keeps a norm from dividing by zero.
    frozen = {key: module for key, module in other.named_modules() if isinstance(module, FrozenBatchNorm2d)}
    for key, norm in frozen.items():
        model.get_submodule(key).eps = norm.eps


def load_file_(model: nn.Module, path: Path, places: Mapping[str, str], call: str) -> None:
    """Loads a state dict from a file of torch or of safetensors into a detector, in place.

    The file holds the whole detector, or its trunk under the names of the trunk's own library; then a classifier may
    be left over. All else has to fit, both ways.

    Raises:
        HostError: the file cannot be read, holds something else, or tensors that do not fit, all of which are told.
    """
    state = _read(path, call)
    if any(key in model.state_dict() for key in state):
        _load(model, state, ("",), call, path.name)
    else:
        _load(model, _placed(state, places), tuple(places.values()), call, path.name)


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
        got = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in wrong.items() if keys)
        raise HostError(f"{call}: {source} does not fit", got=got, fix="weights of this very trunk or detector")


def _placed(state: Mapping[str, Tensor], places: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of a trunk under the detector's names, without the classifier; names that fit nowhere stay."""
    return {_place(key, places): tensor for key, tensor in state.items() if not key.startswith(_CLASSIFIERS)}


def _place(key: str, places: Mapping[str, str]) -> str:
    for before, after in places.items():
        if key.startswith(before):
            return after + key.removeprefix(before)
    return key


def _read(path: Path, call: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise HostError(f"{call}: there is no such file", got=str(path), fix="none, imagenet, coco or a file")
    try:
        state = _parsed(path)
    except Exception as error:
        raise HostError(f"{call}: {path.name} cannot be read", got=first_line(error)) from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise HostError(
            f"{call}: {path.name} is no state dict",
            got=type(state).__name__ if not isinstance(state, dict) else f"a dict of {', '.join(map(str, state))}",
            fix="torch.save(model.state_dict(), ...), or safetensors",
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
        fix="weights=FILE with a checkpoint file copied here, or weights=none",
    )
