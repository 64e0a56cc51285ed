"""What attaching would do and cost, before anything is changed."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from whatwhere.attach.gated import gated_modules
from whatwhere.attach.sites import PLACES, Finder, Site
from whatwhere.attach.trace import trace
from whatwhere.cost import Cost, measure
from whatwhere.errors import AttachError, WhatwhereError, closest
from whatwhere.gates import Gate, named

__all__ = ["GateLike", "Plan", "Where", "build_gate", "plan"]

GateLike = str | Callable[[int], nn.Module]
Where = str | Sequence[str] | Callable[[Site], bool]

_WRAPPERS = ("DistributedDataParallel", "DataParallel", "OptimizedModule", "FullyShardedDataParallel")


@dataclass(frozen=True)
class Plan:
    """The sites of one gate in one host, and what each gate costs; ``print(plan)`` is a table.

    Attributes:
        host: class name of the network.
        gate: the gate as it was named.
        at: the place as it was named.
        start: 'preset' or 'identity'.
        sites: where the gates go, in the order of the forward.
        costs: one ``Cost`` a site: parameters, MACs and bytes for one image.
        input_size: (channels, *spatial) the host was traced with.
    """

    host: str
    gate: str
    at: str
    start: str
    sites: list[Site]
    costs: list[Cost] = field(repr=False)

    @property
    def parameters(self) -> int:
        """Parameters of all gates together."""
        return sum(cost.parameters for cost in self.costs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all gates for one image."""
        return sum(cost.macs for cost in self.costs)

    @property
    def bytes_kept(self) -> int:
        """Bytes all gates keep for backward for one image."""
        return sum(cost.bytes_kept for cost in self.costs)

    def __str__(self) -> str:
        head = ("site", "kind", "channels", "size", "parameters", "MACs", "bytes kept")
        rows = [
            (
                site.name if site.side == "output" else f"before {site.name}",
                site.kind,
                f"{site.channels:,}",
                "x".join(map(str, site.size)),
                f"{cost.parameters:,}",
                f"{cost.macs:,}",
                f"{cost.bytes_kept:,}",
            )
            for site, cost in zip(self.sites, self.costs, strict=True)
        ]
        total = (f"{len(rows)} sites" if len(rows) > 1 else "1 site", "", "", "")
        rows.append((*total, f"{self.parameters:,}", f"{self.macs:,}", f"{self.bytes_kept:,}"))
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        title = f"{self.gate} at {self.at} of {self.host}, start={self.start!r}; MACs and bytes for one image"
        return "\n".join([title, *(_line(row, widths) for row in (head, *rows))])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def plan(
    model: nn.Module,
    gate: GateLike,
    *,
    at: Where | None = None,
    exclude: Where | None = None,
    start: str = "preset",
    input_size: Sequence[int] | None = None,
    inputs: Sequence[Any] | None = None,
) -> Plan:
    """Find the sites for a gate in a network and what it will cost there. Nothing is changed and nothing computed.

    Args:
        model: any convolutional network, bare: not yet wrapped for data parallelism or compiled.
        gate: a name ('bam', 'cbam', 'se', with options as 'bam:reduction=8'), a gate class, or any callable
            ``channels -> nn.Module`` whose module keeps the shape of a map.
        at: 'bottlenecks' (the last map before each downsampling, stem left out: BAM's place), 'blocks' (the residual
            branch before each addition: CBAM's place), 'stages' (bottlenecks and the last map), 'transitions' (before
            and after each module that downsamples), a regular expression that matches whole module names, a list of
            names, or a predicate on a ``Site``. Default: the place of the gate's paper.
        exclude: a regular expression, list of names or predicate; what it matches is left out.
        start: 'preset', or 'identity' to leave the network's output bit for bit as it is until training moves it.
        input_size: (channels, *spatial) of the input. Default: the first convolution's channels, 224 px a side.
        inputs: positional arguments instead, for a network that takes more or other than one map.
    Raises:
        AttachError: when the network cannot be traced or nothing matches; the message names what is close.
        GateError: when the gate cannot be built for a site.
    """
    at = _own_place(gate) if at is None else at
    call = f"({type(model).__name__}, {_show(gate)}, at={_show(at)})"
    _refuse_wrapped(model, call)
    finder = Finder(trace(model, input_size, inputs))
    sites = _choose(finder, at, f"attach_{call}", gate)
    if exclude is not None:
        kept = _without(sites, exclude)
        if not kept:
            raise AttachError(
                f"attach_{call}: exclude={_show(exclude)} leaves none of the {len(sites)} sites; nothing was changed",
                got=", ".join(site.name for site in sites[:4]) + (", ..." if len(sites) > 4 else ""),
            )
        sites = kept
    _refuse_taken_name(model, sites, call)
    costs = [_cost(gate, site, start, call) for site in sites]
    return Plan(type(model).__name__, _show(gate).strip("'"), _show(at).strip("'"), start, sites, costs)


def build_gate(gate: GateLike, site: Site, start: str, device: torch.device | str) -> nn.Module:
    """The gate for one site, on ``device`` in the site's dtype; ``start`` holds for foreign modules too."""
    from whatwhere.gates.blended import Blended

    if isinstance(gate, str):
        dims = {"spatial_dims": len(site.size)} if len(site.size) != 2 else {}
        return named(gate)(site.channels, start=start, device=device, dtype=site.dtype, **dims)
    with torch.device(device):
        module = gate(site.channels)
    module = module.to(site.dtype)
    if start == "identity":
        if not isinstance(module, Gate):
            return Blended(module).to(device=device, dtype=site.dtype)
        if module.strength is None:
            module.start_at_identity_()
    return module


def _cost(gate: GateLike, site: Site, start: str, call: str) -> Cost:
    # two images, because a batch norm in training refuses one; every count is proportional to the batch
    shape = (2, site.channels, *site.size)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            module = build_gate(gate, site, start, "meta")
            given = module.eval()(torch.empty(shape, dtype=site.dtype, device="meta"))
        result = measure(module, shape)
    except WhatwhereError:
        raise
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise AttachError(
            f"attach_{call}: the gate cannot be built for, or run on, the map at {site.name!r}; nothing was changed",
            got=f"shape {shape}; {type(error).__name__}: {error}",
            fix="a gate is a callable channels -> nn.Module",
        ) from error
    if not isinstance(given, torch.Tensor) or given.shape != shape:
        raise AttachError(
            f"attach_{call}: a gate must give a map of the shape it takes; nothing was changed",
            got=f"{tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__} from {shape}",
        )
    return Cost(result.parameters, result.macs // 2, result.bytes_moved // 2, result.bytes_kept // 2)


def _refuse_wrapped(model: nn.Module, call: str) -> None:
    if type(model).__name__ in _WRAPPERS:
        raise AttachError(
            f"attach_{call}: the network is wrapped in {type(model).__name__}; nothing was changed",
            fix="attach the gates first, then wrap or compile",
        )
    present = gated_modules(model)
    if present:
        raise AttachError(
            f"attach_{call}: the network already carries gates; nothing was changed",
            got=f"{len(present)} gates, the first at {next(iter(present))!r}",
            fix="detach_(model) takes them out",
        )


def _refuse_taken_name(model: nn.Module, sites: list[Site], call: str) -> None:
    for site in sites:
        if "gate" in dict(model.get_submodule(site.name).named_children()):
            raise AttachError(
                f"attach_{call}: {site.name!r} has a part called 'gate', and in checkpoints the new gate would take"
                " that name; nothing was changed",
                fix=f"exclude {site.name!r}, or name a module inside or around it",
            )


def _own_place(gate: GateLike) -> str:
    made = named(gate) if isinstance(gate, str) else gate
    made = made.func if isinstance(made, partial) else made
    return str(getattr(made, "place", "bottlenecks"))


def _choose(finder: Finder, at: Where, call: str, gate: GateLike) -> list[Site]:
    if isinstance(at, str) and at in PLACES:
        sites = finder.find(at)
        if not sites:
            why = {
                "blocks": "no residual branch is added to a shortcut",
                "stages": "no map is downsampled after the stem",
            }.get(at, "no map is downsampled after the stem")
            others = [f"{place} ({len(finder.find(place))})" for place in PLACES if finder.find(place)]
            raise AttachError(
                f"{call}: {why} in this network, as far as its forward shows; nothing was changed",
                got=f"places it has: {', '.join(others) if others else 'none'}",
                fix="name modules instead: at=[...] or a regular expression",
            )
        return sites
    modules = finder.modules()
    if isinstance(at, str):
        pattern = _pattern(at, call)
        sites = [site for site in modules if any(pattern.fullmatch(name) for name in site.names)]
        if not sites:
            raise _no_match(finder, modules, at, call, gate)
        return sites
    if callable(at):
        sites = [site for site in modules if at(site)]
        if not sites:
            raise AttachError(
                f"{call}: the predicate is true for none of {len(modules)} sites; nothing was changed",
                fix=f"plan(model, {_show(gate)}, at='.*') lists them all",
            )
        return sites
    by_name = {name: site for site in modules for name in site.names}
    for name in at:
        if name not in by_name:
            raise _no_match(finder, modules, name, call, gate)
    return list({by_name[name].name: by_name[name] for name in at}.values())


def _no_match(finder: Finder, modules: Iterable[Site], name: str, call: str, gate: GateLike) -> AttachError:
    known = [other for site in modules for other in site.names]
    level = [other for other in known if other.count(".") == name.count(".")]
    near = closest(name, level) or closest(name, known)
    if name in {other for one in finder.trace.calls for other in one.names}:
        return AttachError(f"{call}: {name!r} {finder.refusal(name)}; nothing was changed", closest=near)
    usual = len(finder.find(_own_place(gate)))
    listed = f"plan(model, {_show(gate)}) lists all {usual} sites"
    return AttachError(
        f"{call}: no module matches {name!r}; nothing was changed",
        closest=near,
        fix=listed if usual else f"plan(model, {_show(gate)}, at='.*') lists every module that can be a site",
    )


def _pattern(text: str, call: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise AttachError(f"{call}: {text!r} is no regular expression: {error}; nothing was changed") from None


def _without(sites: list[Site], exclude: Where) -> list[Site]:
    if isinstance(exclude, str):
        pattern = _pattern(exclude, "exclude")
        return [site for site in sites if not any(pattern.fullmatch(name) for name in site.names)]
    if callable(exclude):
        return [site for site in sites if not exclude(site)]
    return [site for site in sites if not set(site.names) & set(exclude)]


def _show(value: object) -> str:
    if isinstance(value, partial):
        options = "".join(f", {name}={option!r}" for name, option in value.keywords.items())
        return f"partial({_show(value.func)}{options})"
    return getattr(value, "__name__", repr(value)) if callable(value) else repr(value)
