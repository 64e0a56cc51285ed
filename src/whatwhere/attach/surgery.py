"""Putting gates into a host, taking them out again, switching them off."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from whatwhere.attach.building import GateLike, build_gate
from whatwhere.attach.choice import Where
from whatwhere.attach.gated import Gated, gate_prefixes, gated_modules, wrap
from whatwhere.attach.plan import Plan, prepare
from whatwhere.attach.trace import trace
from whatwhere.errors import AttachError

__all__ = ["attach_", "detach_", "disabled", "host_state_dict", "insert"]


def attach_(
    model: nn.Module,
    gate: GateLike,
    *,
    at: Where | None = None,
    exclude: Where | None = None,
    start: str = "preset",
    input_size: Sequence[int] | None = None,
    inputs: Sequence[Any] | None = None,
) -> Plan:
    """Put gates into a network, in place, and return the plan that was carried out.

    Every check comes before the first change: a call that raises leaves the network as it was. Checkpoints of the bare
    network keep loading with ``strict=True``; ``host_state_dict`` gives one. Gates take device, dtype and mode from
    where they stand; an optimiser made before does not know their parameters. Where a backbone is put into eval mode
    for training, so are the gates in it, until their own ``train()`` is called; frozen norms of the host's own kind,
    as torchvision's ``FrozenBatchNorm2d``, leave the gates' norms free.

    Args:
        model, gate, at, exclude, start, input_size, inputs: as in ``plan``.
    Raises:
        AttachError, GateError: as ``plan``; also when the network already carries gates.
    Example:
        >>> host = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2))
        >>> len(attach_(host, "bam", at=["1"]).sites)
        1
    """
    result = prepare("attach_", model, gate, at, exclude, start, input_size, inputs)
    gates = {site.name: build_gate(gate, site, start, site.device) for site in result.sites}
    insert(model, gates, {site.name for site in result.sites if site.side == "input"})
    try:
        _check_reached(model, input_size, inputs, result)
    except AttachError:
        detach_(model)
        raise
    return result


def _check_reached(
    model: nn.Module, input_size: Sequence[int] | None, inputs: Sequence[Any] | None, done: Plan
) -> None:
    """One more fake forward: a host may call its modules by other references than those that were replaced."""
    call = f"attach_({done.host}, {done.gate}, at={done.at})"
    called = {name for one in trace(model, input_size, inputs, call, partly=True).calls for name in one.names}
    for name, module in model.named_modules():
        if isinstance(module, Gated) and f"{name}.gate" not in called:
            raise AttachError(
                f"{call}: a gate at {name!r} would never run; nothing was changed",
                got="the network calls that module by another reference than its parent's",
                fix="keep modules in nn.ModuleList instead of a list, or choose another site",
            )


def insert(model: nn.Module, gates: dict[str, nn.Module], before: set[str]) -> None:
    """Wrap the modules of these names, under every name they have; all must exist."""
    holders: dict[int, list[tuple[nn.Module, str]]] = {}
    for parent in model.modules():
        for key, child in parent._modules.items():
            holders.setdefault(id(child), []).append((parent, key))
    hosts = {name: model.get_submodule(name) for name in gates}
    for name, host in hosts.items():
        gated = wrap(host, gates[name].train(host.training), name in before)
        for parent, key in holders[id(host)]:
            parent._modules[key] = gated


def detach_(model: nn.Module) -> dict[str, nn.Module]:
    """Take all gates out, in place, and return them by site: the exact inverse of ``attach_``.

    The host's modules are the very objects they were, with whatever weights training gave them.
    """
    gates = {name: gated.gate for name, gated in gated_modules(model).items()}
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if isinstance(child, Gated):
                parent._modules[key] = child.host
    return gates


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block the network computes what it computes without its gates; afterwards all is as before."""
    found = list(gated_modules(model).values())
    were = [gated.enabled for gated in found]
    try:
        for gated in found:
            gated.enabled = False
        yield model
    finally:
        for gated, was in zip(found, were, strict=True):
            gated.enabled = was


def host_state_dict(model: nn.Module) -> OrderedDict[str, Tensor]:
    """The state dict of the network without its gates; the bare network loads it with ``strict=True``."""
    whole = model.state_dict()
    gates = gate_prefixes(model)
    bare = OrderedDict((key, tensor) for key, tensor in whole.items() if not key.startswith(gates))
    versions = getattr(whole, "_metadata", OrderedDict())
    kept = {key: version for key, version in versions.items() if not f"{key}.".startswith(gates)}
    bare._metadata = OrderedDict(kept)  # type: ignore[attr-defined]  # where torch keeps the modules' versions
    return bare
