"""The state of a broken-off trial on the disk, checked before it is believed."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whatwhere.errors import RunError
from whatwhere.train.files import write_atomically
from whatwhere.train.task import Measured

__all__ = [
    "Checkpoint",
    "check_network",
    "check_trial",
    "load_checkpoint",
    "load_weights",
    "pack_weights",
    "save_checkpoint",
]

_TAG = b"sha256:"
_TAG_LENGTH = len(_TAG) + 64
_FORMAT = 3
_EARLIER = (1, 2)


@dataclass(frozen=True)
class Checkpoint:
    """A trial after its last finished epoch, or where it was asked to stop in the next one.

    There are no random numbers in it: all chance is drawn from the trial's seed, the epoch and the step.

    Args:
        model: the network's state dict; likewise ``optimiser``, and ``scaler`` (empty when there is none).
        optimiser: likewise.
        scaler: likewise.
        history: its epochs.
        trial: what makes it this trial: the recipe's fields, the seed and the data's name and sizes.
        best_digest: SHA-256 of the ``best.safetensors`` that belongs to it, ``""`` before there is one.
        average: the moving average of the weights, empty when there is none.
        step: steps taken of the epoch after the last finished one; the next fields are about those.
        tally: their losses and what was noted of their images.
        seconds: what they took.
        waiting: seconds of these in which images were waited for.
    """

    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    history: tuple[Measured, ...]
    trial: dict[str, Any]
    best_digest: str
    average: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    tally: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    waiting: float = 0.0


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replaces ``path`` in one move; the bytes are held in memory once while being written.

    The file is one that `torch.load` reads. Its digest is the comment at the end of the zip archive, since PyTorch's
    reader does not look at the archive's own checksums.

    Raises:
        RunError: the system refuses; the old checkpoint stays.
    """
    content = {each.name: getattr(checkpoint, each.name) for each in fields(Checkpoint)}
    content["history"] = [asdict(one) for one in checkpoint.history]
    content["format"] = _FORMAT
    buffer = io.BytesIO()
    torch.save(content, buffer)
    tag = _TAG + hashlib.sha256(buffer.getbuffer()).hexdigest().encode()
    buffer.seek(-2, io.SEEK_END)  # a zip archive ends with the length of its comment, 0 as PyTorch writes it
    buffer.write(len(tag).to_bytes(2, "little") + tag)
    write_atomically(path, buffer.getbuffer())


def load_checkpoint(path: Path, epoch: type[Any]) -> Checkpoint | None:
    """The checkpoint in ``path``, its epochs as ``epoch``, on the CPU; None without a file. Nothing in it is run.

    Raises:
        RunError: the file cannot be read, was cut short or changed, or holds more than tensors and plain values.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"train: cannot read '{path}': {error.strerror}") from error
    fix = "delete it to train this trial from the start"
    body, tag = data[: -_TAG_LENGTH - 2] + b"\0\0", data[-_TAG_LENGTH:]
    if tag != _TAG + hashlib.sha256(body).hexdigest().encode():
        raise RunError(f"train: '{path}' is damaged, or is no checkpoint of whatwhere; it was not read", fix=fix)
    try:
        content = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"train: '{path}' holds more than tensors and plain values, which could run code; it was not loaded",
            fix=f"do not trust where it came from; {fix}",
        ) from error
    number = content.pop("format", None) if isinstance(content, dict) else None
    if number in _EARLIER:
        raise RunError(
            f"train: '{path}' was written by an earlier version of whatwhere, whose checkpoints hold other things",
            fix=f"finish the trial with that version, or {fix}",
        )
    if number != _FORMAT:
        raise RunError(f"train: '{path}' is no checkpoint that this version of whatwhere wrote", fix=fix)
    history = tuple(epoch(**one) for one in content.pop("history"))
    return Checkpoint(history=history, **content)


def check_trial(path: Path, trial: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Compares what makes the trial asked for with what was ``found`` in ``path``.

    Raises:
        RunError: they differ; every difference is named.
    """
    names = [name for name in {**found, **trial} if found.get(name) != trial.get(name)]
    if names:
        then, now = (", ".join(f"{name}={side.get(name)!r}" for name in names) for side in (found, trial))
        raise RunError(
            f"train: '{path}' belongs to another trial",
            got=f"{now}; in the file {then}",
            fix="give each trial its own folder, or delete the file to train from the start",
        )


def check_network(path: Path, model: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Compares names and shapes of a network's state with those ``found`` in ``path``.

    Raises:
        RunError: they differ; the first difference is named.
    """
    for name in {**model, **found}:
        here, there = (str(tuple(side[name].shape)) if name in side else "nothing" for side in (model, found))
        if here != there:
            raise RunError(
                f"train: '{path}' belongs to another network",
                got=f"'{name}' is {here} in the network and {there} in the file",
                fix="give each trial its own folder, or delete the file to train from the start",
            )


def pack_weights(model: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file with a network's state, on the CPU and contiguous."""
    from safetensors.torch import save

    # cloned, since safetensors refuses tensors that share memory, as tied weights do
    return bytes(save({name: value.detach().cpu().contiguous().clone() for name, value in model.items()}))


def load_weights(path: Path, digest: str) -> dict[str, Tensor]:
    """The state in a safetensors file, on the CPU.

    Raises:
        RunError: it cannot be read, or is not the file with that SHA-256.
    """
    from safetensors.torch import load

    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"train: cannot read '{path}': {error.strerror}", fix=f"delete '{path.parent}' to train from the start"
        ) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise RunError(
            f"train: '{path}' is not the file that this trial wrote",
            fix=f"delete '{path.parent}' to train from the start",
        )
    return dict(load(data))
