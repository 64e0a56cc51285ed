"""The tensors of a checkpoint file, without running what a pickle may ask to run."""

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from whatwhere.errors import AttachError, closest, first_line

__all__ = ["StateFile", "read_state"]

_DAMAGED = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True)
class StateFile:
    """What a checkpoint holds.

    Args:
        tensors: the network's state by its keys, less DataParallel's ``module.``, on the CPU.
        prefix: what was taken off every key: ``"module."`` or ``""``.
        unused: what lies beside the state dict: ``"epoch"``, ``"optimizer"`` and the like.
    """

    tensors: dict[str, Tensor]
    prefix: str
    unused: tuple[str, ...]


def read_state(path: Path, call: str) -> StateFile:
    """Read a state dict, bare or under the key ``state_dict``, from a file of torch or of safetensors.

    Args:
        path: the file.
        call: what the user wrote, for the error's first line.
    Raises:
        AttachError: no such file, a damaged one, one that holds more than tensors and plain values, or no state dict.
    """
    if not path.is_file():
        near = sorted(other.name for other in path.parent.iterdir()) if path.parent.is_dir() else []
        raise AttachError(f"{call}: there is no such file; nothing was changed", closest=closest(path.name, near))
    content = _safetensors(path, call) if path.suffix == ".safetensors" else _pickled(path, call)
    unused: tuple[str, ...] = ()
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        unused = tuple(str(key) for key in content if key != "state_dict")
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content or not all(map(_is_entry, content.items())):
        raise AttachError(
            f"{call}: the file holds no state dict; nothing was changed",
            got=_kinds(content),
            fix="give the file that torch.save(network.state_dict(), path) wrote, or one with it under 'state_dict'",
        )
    prefix = "module." if all(key.startswith("module.") for key in content) else ""
    return StateFile({key.removeprefix(prefix): tensor for key, tensor in content.items()}, prefix, unused)


def _pickled(path: Path, call: str) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # of a pickle protocol that is then refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise AttachError(f"{call}: the file cannot be read", got=error.strerror or str(error)) from error
    except _DAMAGED as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if asked is not None:
            raise AttachError(
                f"{call}: the file asks for more than tensors and plain values, which could run code; nothing of it was"
                " run and nothing was changed",
                got=asked[1],
                fix="do not trust where it came from; its maker can save network.state_dict() alone",
            ) from None
        raise _damaged(call, error) from error


def _safetensors(path: Path, call: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except OSError as error:
        raise AttachError(f"{call}: the file cannot be read", got=error.strerror or str(error)) from error
    except (SafetensorError, ValueError) as error:
        raise _damaged(call, error) from error


def _damaged(call: str, error: Exception) -> AttachError:
    return AttachError(
        f"{call}: the file is damaged, or no checkpoint; nothing was changed",
        got=f"{type(error).__name__}: {first_line(error)[:120]}",
        fix="fetch or copy it again, and compare its size with the original's",
    )


def _is_entry(item: tuple[Any, Any]) -> bool:
    key, value = item
    return isinstance(key, str) and isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta


def _kinds(content: object) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__
    odd = next((item for item in content.items() if not _is_entry(item)), None)
    return "an empty dict" if odd is None else f"{type(odd[1]).__name__} at {odd[0]!r}"
