"""Gates alone on disk: a folder with ``gates.json`` (what they are) and ``gates.safetensors`` (their tensors)."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from whatwhere.attach.gated import Gated, gated_modules
from whatwhere.attach.surgery import host_state_dict, insert
from whatwhere.errors import AttachError, closest
from whatwhere.files import replace_file
from whatwhere.gates import NAMED, Gate

__all__ = ["GATE_CLASSES", "describe_gate", "load_gates", "save_gates"]

_FORMAT = 1
GATE_CLASSES: Mapping[str, Any] = {gate.__name__: gate for gate in NAMED.values()}


def save_gates(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Write the network's gates, and nothing of the network, into ``folder``.

    Raises:
        AttachError: when the network carries no gates, or the folder cannot be written.
    """
    gated = gated_modules(model)
    call = f"save_gates({type(model).__name__}, {str(folder)!r})"
    if not gated:
        raise AttachError(f"{call}: the network carries no gates", fix="attach_(model, 'bam') puts some in")
    tensors = {f"{name}.gate.{key}": value.detach().contiguous().clone() for name, key, value in _tensors(gated)}
    packed = save(tensors)
    described = {
        "format": _FORMAT,
        "tensors": hashlib.sha256(packed).hexdigest(),
        "host": type(model).__name__,
        "host_fingerprint": _fingerprint(model),
        "gates": {name: describe_gate(one) for name, one in gated.items()},
    }
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        replace_file(target / "gates.safetensors", packed)
        replace_file(target / "gates.json", (json.dumps(described, indent=1) + "\n").encode())
    except OSError as error:
        raise AttachError(f"{call}: the folder cannot be written", got=str(error)) from error


def load_gates(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Put the gates of ``folder`` into the network they were saved from, or load them into the gates it carries.

    Every check comes before the first change. Gates of other libraries cannot be built from the file: attach them
    first, then load.

    Raises:
        AttachError: when files are missing or broken, or belong to another network or other gates.
    """
    call = f"load_gates({type(model).__name__}, {str(folder)!r})"
    described, tensors = _read(Path(folder), call)
    if described["host_fingerprint"] != _fingerprint(model):
        raise AttachError(
            f"{call}: the gates belong to another network; nothing was changed",
            got=f"gates of a {described['host']} whose tensors have other names or shapes",
            fix="build the network as it was when they were saved, classes and all",
        )
    carried = gated_modules(model)
    fresh = not carried
    if not fresh:
        _compare_kinds(carried, described["gates"], call)
    gates = _build(model, described, call) if fresh else {name: one.gate for name, one in carried.items()}
    _compare_tensors(gates, tensors, call)
    for name, gate in gates.items():
        prefix = f"{name}.gate."
        gate.load_state_dict({key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)})
    if fresh:
        insert(model, gates, {name for name, one in described["gates"].items() if one["side"] == "input"})


def _tensors(gated: Mapping[str, Any]) -> list[tuple[str, str, Tensor]]:
    return [(name, key, value) for name, one in gated.items() for key, value in one.gate.state_dict().items()]


def _fingerprint(model: nn.Module) -> str:
    shapes = sorted((key, tuple(tensor.shape)) for key, tensor in host_state_dict(model).items())
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]


def _read(folder: Path, call: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        described = json.loads((folder / "gates.json").read_text())
        packed = (folder / "gates.safetensors").read_bytes()
        tensors = load(packed)
    except FileNotFoundError as error:
        raise AttachError(
            f"{call}: there are no saved gates in that folder",
            got=f"no {Path(error.filename or folder / 'gates.safetensors').name}",
            fix="save_gates(model, folder) writes gates.json and gates.safetensors",
        ) from None
    except (OSError, ValueError, SafetensorError) as error:
        raise AttachError(f"{call}: the files are broken; nothing was changed", got=str(error)) from error
    if not isinstance(described, dict) or described.get("format") != _FORMAT:
        raise AttachError(f"{call}: gates.json is not of format {_FORMAT}; nothing was changed")
    gates = described.get("gates")
    whole = isinstance(gates, dict) and all(
        isinstance(one, dict) and set(one) == {"gate", "config", "side"} for one in gates.values()
    )
    if not whole or not {"host", "host_fingerprint", "tensors"} <= set(described):
        raise AttachError(f"{call}: gates.json lacks a part; nothing was changed", fix="save the gates again")
    if hashlib.sha256(packed).hexdigest() != described["tensors"]:
        raise AttachError(
            f"{call}: gates.safetensors is not the file that gates.json was written with; nothing was changed",
            fix="save the gates again",
        )
    return described, tensors


def _build(model: nn.Module, described: Mapping[str, Any], call: str) -> dict[str, nn.Module]:
    gates: dict[str, nn.Module] = {}
    known = dict(model.named_modules(remove_duplicate=False))
    for name, one in described["gates"].items():
        if name not in known:
            raise AttachError(f"{call}: the network has no module {name!r}", closest=closest(name, known))
        if one["gate"] not in GATE_CLASSES or one["config"] is None:
            raise AttachError(
                f"{call}: a {one['gate']} cannot be built from the file; nothing was changed",
                fix="attach_ the same gates first, then load_gates fills them",
            )
        like = next(known[name].parameters(), next(model.parameters(), torch.empty(0)))
        try:
            gates[name] = GATE_CLASSES[one["gate"]](**one["config"], device=like.device, dtype=like.dtype)
        except TypeError as error:
            raise AttachError(
                f"{call}: the {one['gate']} at {name!r} cannot be built from the file; nothing was changed",
                got=str(error),
            ) from error
    return gates


def describe_gate(gated: Gated) -> dict[str, Any]:
    """Plain values that build the gate again; ``config`` is None for a module of another library."""
    return {
        "gate": type(gated.gate).__name__,
        "config": gated.gate.config() if isinstance(gated.gate, Gate) else None,
        "side": "input" if gated.before else "output",
    }


def _compare_kinds(carried: Mapping[str, Gated], saved: Mapping[str, Any], call: str) -> None:
    here = {name: describe_gate(one) for name, one in carried.items()}
    odd = sorted(name for name in set(here) | set(saved) if here.get(name) != saved.get(name))
    if odd:
        raise AttachError(
            f"{call}: the network carries other gates than those saved; nothing was changed",
            got=f"{len(here)} gates here, {len(saved)} saved, and they differ at {odd[0]!r}",
            fix="detach_(model) first, and load_gates attaches those of the file",
        )


def _compare_tensors(gates: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], call: str) -> None:
    ours = {f"{name}.gate.{key}": value for name, gate in gates.items() for key, value in gate.state_dict().items()}
    for name in sorted(set(ours) | set(tensors)):
        here, saved = ours.get(name), tensors.get(name)
        if here is None or saved is None or here.shape != saved.shape:
            raise AttachError(
                f"{call}: the tensors do not fit the gates; nothing was changed",
                got=f"{name}: {_shape(saved)} saved, {_shape(here)} here",
            )


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else str(tuple(tensor.shape))
