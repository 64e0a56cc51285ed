"""A network with its gates out of a config, and a config's gates out of a network."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere import hosts
from whatwhere.attach.gated import gated_modules
from whatwhere.attach.storage import GATE_CLASSES, describe_gate
from whatwhere.attach.surgery import insert
from whatwhere.errors import GateError, HostError, closest
from whatwhere.gates import Gate
from whatwhere.hub.config import NetworkConfig

__all__ = ["build_gated", "check_tensors", "describe_gates", "outline", "show_gate"]


def describe_gates(model: nn.Module, call: str) -> dict[str, dict[str, Any]]:
    """For each site: the gate's class, its config and its side.

    Raises:
        HostError: a gate is of another library, which a name and plain values cannot build again.
    """
    found = {}
    for site, gated in gated_modules(model).items():
        gate = gated.gate
        if type(gate) is not GATE_CLASSES.get(type(gate).__name__) or not isinstance(gate, Gate):
            raise HostError(
                f"{call}: a config.json cannot hold the {type(gate).__name__} at {site!r}, for only this package's "
                "gates can be built again from it; nothing was written",
                got=f"{type(gate).__module__}.{type(gate).__qualname__}",
                fix="save_gates(model, folder) keeps its tensors, for a network that your code builds",
            )
        found[site] = describe_gate(gated)
    return found


def build_gated(config: NetworkConfig, call: str) -> nn.Module:
    """The host with its gates, weights drawn anew; no code but this package's and the host's library's is run.

    Raises:
        HostError: there is no such host, site or gate, or the gate cannot have such options.
    """
    with torch.random.fork_rng(devices=[]):
        return _put_gates(_host(hosts.build, config, call), config, "cpu", call)


def outline(config: NetworkConfig, call: str) -> dict[str, Tensor]:
    """The state dict of ``build_gated``, shapes without memory: cheap whatever the config asks for.

    Raises:
        HostError: as ``build_gated``.
    """
    with torch.random.fork_rng(devices=[]):
        model = _put_gates(_host(hosts.skeleton, config, call), config, "meta", call)
        return dict(model.state_dict())


def _host(build: Any, config: NetworkConfig, call: str) -> nn.Module:
    try:
        model: nn.Module = build(
            config.host,
            num_classes=config.num_classes,
            in_channels=config.in_channels,
            stem=config.stem,
            width=config.width,
        )
    except HostError as error:
        raise HostError(
            f"{call}: the host cannot be built: {error.rule}", got=error.got, closest=error.closest, fix=error.fix
        ) from None
    return model


def _put_gates(model: nn.Module, config: NetworkConfig, device: str, call: str) -> nn.Module:
    known = dict(model.named_modules(remove_duplicate=False))
    gates: dict[str, nn.Module] = {}
    for site, one in config.gates.items():
        if not site or site not in known:
            raise HostError(f"{call}: {config.host!r} has no module {site!r} for a gate", closest=closest(site, known))
        if one["gate"] not in GATE_CLASSES:
            raise HostError(f"{call}: there is no gate {one['gate']!r}", closest=closest(one["gate"], GATE_CLASSES))
        try:
            gates[site] = GATE_CLASSES[one["gate"]](**{**one["config"], "device": device, "dtype": torch.float32})
        except (TypeError, GateError) as error:
            raise HostError(
                f"{call}: the {one['gate']} at {site!r} cannot be built", got=str(error).partition("\n")[0]
            ) from None
    insert(model, gates, {site for site, one in config.gates.items() if one["side"] == "input"})
    return model


def show_gate(one: Mapping[str, Any]) -> str:
    """The gate as one would write it, with the options that are not its preset's."""
    return repr(GATE_CLASSES[one["gate"]](**{**one["config"], "device": "meta"}))


def check_tensors(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], rule: str, fix: str) -> None:
    """Refuse tensors that are not those of the network that the config builds.

    Raises:
        HostError: with ``rule`` and ``fix``, and the first tensor that is missing, left over or of another shape.
    """
    for name in {**wanted, **found}:
        built, here = wanted.get(name), found.get(name)
        said = [_described(one) for one in (here, built)]
        if said[0] != said[1]:
            raise HostError(rule, got=f"{name!r} is {said[0]}, and {said[1]} by the config", fix=fix)


def _described(tensor: Tensor | None) -> str:
    if tensor is None:
        return "missing"
    return f"{'floating' if tensor.is_floating_point() else 'other'} {tuple(tensor.shape)}"
