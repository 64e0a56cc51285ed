"""The folder of a saved network: ``config.json``, ``model.safetensors`` and ``README.md``, as on the Hub."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from whatwhere.errors import HostError
from whatwhere.files import replace_file, way_out
from whatwhere.hub.config import NetworkConfig

__all__ = ["CARD", "CONFIG", "TENSORS", "check_target", "read_folder", "write_folder", "write_network"]

CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
_LARGEST_CONFIG = 50_000_000


def check_target(folder: Path, call: str) -> None:
    """Refuse a folder in which another project's files would be overwritten.

    Raises:
        HostError: it has a file that would be, and no config of a network that this package saved.
    """
    there = [name for name in (CONFIG, TENSORS, CARD) if (folder / name).exists()]
    if not there:
        return
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or config.get("library_name") != "whatwhere":
        raise HostError(
            f"{call}: the folder holds something else, and its {there[0]} would be overwritten; nothing was written",
            fix="name a new folder",
        )


def write_folder(folder: Path, config: NetworkConfig, state: Mapping[str, Tensor], card: str, call: str) -> None:
    """Write all three files.

    Raises:
        HostError: the system refuses.
    """
    write_network(folder, config, state, call)
    _write(folder / CARD, card.encode(), call)


def write_network(folder: Path, config: NetworkConfig, state: Mapping[str, Tensor], call: str) -> None:
    """Write the tensors, then the config with their digest, each in one step.

    Raises:
        HostError: the system refuses.
    """
    from safetensors.torch import save

    # cloned, since safetensors refuses tensors that share memory, as tied weights do
    packed = save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, {"format": "pt"})
    digest = hashlib.sha256(packed).hexdigest()
    text = json.dumps({**config.to_json(), "tensors": digest}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _write(folder / TENSORS, packed, call)
    _write(folder / CONFIG, text.encode(), call)


def _write(path: Path, data: bytes, call: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    except OSError as error:
        raise HostError(
            f"{call}: {path.name} cannot be written", got=error.strerror or str(error), fix=way_out(error)
        ) from error


def read_folder(folder: Path, call: str) -> tuple[NetworkConfig, dict[str, Tensor], str]:
    """Config, tensors and the card's text ("" without one); nothing is built yet.

    Raises:
        HostError: a file is missing, damaged or not the one that the config was written with.
    """
    from safetensors.torch import load

    raw = _read(folder / CONFIG, call)
    try:
        value = json.loads(raw) if len(raw) <= _LARGEST_CONFIG else None
    except (ValueError, RecursionError) as error:
        raise HostError(f"{call}: config.json is damaged", got=str(error), fix="fetch or save it again") from error
    config = NetworkConfig.from_json(value, call)
    packed = _read(folder / TENSORS, call)
    try:
        tensors = dict(load(packed))
    except (SafetensorError, ValueError, KeyError) as error:
        raise HostError(
            f"{call}: model.safetensors is damaged", got=str(error).partition("\n")[0], fix="fetch or save it again"
        ) from error
    if isinstance(value, dict) and value.get("tensors") != hashlib.sha256(packed).hexdigest():
        raise HostError(
            f"{call}: model.safetensors is not the file that config.json was written with",
            fix="fetch or save both again",
        )
    try:
        card = (folder / CARD).read_text()
    except (OSError, ValueError):
        card = ""
    return config, tensors, card


def _read(path: Path, call: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise HostError(
            f"{call}: there is no saved network in that folder", got=f"no {path.name}", fix="save_network writes one"
        ) from None
    except OSError as error:
        raise HostError(f"{call}: {path.name} cannot be read", got=error.strerror or str(error)) from error
