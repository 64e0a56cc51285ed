"""A gate for a site: what may be given as one, how it is built, and what it costs there."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from whatwhere.attach.sites import Site
from whatwhere.cost import Cost, measure
from whatwhere.errors import AttachError, WhatwhereError, closest, first_line
from whatwhere.gates import STARTS, Blended, Gate, named

__all__ = ["GateLike", "build_gate", "check_gate", "own_place", "price", "show"]

GateLike = str | Callable[[int], nn.Module]

_GROWING = ("macs", "bytes_moved", "bytes_kept")


def check_gate(gate: GateLike, start: str, call: str) -> None:
    """Refuse what is no gate and no start.

    Raises:
        GateError: an unknown name or option; AttachError: something that is not called with channels.
    """
    if isinstance(gate, nn.Module) or not (isinstance(gate, str) or callable(gate)):
        raise AttachError(
            f"{call}: a gate is a name, or a callable channels -> nn.Module; nothing was changed",
            got=f"{'an instance of ' if isinstance(gate, nn.Module) else ''}{type(gate).__name__}",
            fix="give the class, or functools.partial of it: each site gets a gate of its own",
        )
    if isinstance(gate, str):
        named(gate)
    if start not in STARTS:
        raise AttachError(
            f"{call[:-1]}, start={start!r}): start must be one of 'preset', 'identity'; nothing was changed",
            closest=closest(str(start), STARTS),
        )


def own_place(gate: GateLike) -> str:
    """Where the gate's paper puts it: its ``place``; 'bottlenecks' for a module that has none."""
    made = named(gate) if isinstance(gate, str) else gate
    made = made.func if isinstance(made, partial) else made
    return str(getattr(made, "place", "bottlenecks"))


def build_gate(gate: GateLike, site: Site, start: str, device: torch.device | str) -> nn.Module:
    """The gate for one site, on ``device`` in the site's dtype; ``start`` holds for foreign modules too."""
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


def price(gate: GateLike, site: Site, start: str, call: str) -> Cost:
    """What the gate costs at the site for one image, counted on the meta device.

    Raises:
        AttachError: the gate cannot be built for the map or run on it, or does not keep its shape.
    """
    shape = (2, site.channels, *site.size)  # two images: a batch norm in training refuses one
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            module = build_gate(gate, site, start, "meta")
            given = module.eval()(torch.empty(shape, dtype=site.dtype, device="meta"))
        two, four = measure(module, shape), measure(module, (4, *shape[1:]))
    except WhatwhereError:
        raise
    except Exception as error:  # the callable is the user's and may fail in any way
        raise AttachError(
            f"{call}: the gate cannot be built for, or run on, the map at {site.name!r}; nothing was changed",
            got=f"shape {shape}; {type(error).__name__}: {first_line(error)}",
            fix="a gate is a callable channels -> nn.Module",
        ) from error
    if not isinstance(given, torch.Tensor) or given.shape != shape:
        raise AttachError(
            f"{call}: a gate must give a map of the shape it takes; nothing was changed",
            got=f"{tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__} from {shape}",
        )
    # what two images cost, less what two more add: reading the weights does not grow with the batch
    one = {key: getattr(two, key) - (getattr(four, key) - getattr(two, key)) // 2 for key in _GROWING}
    return Cost(two.parameters, **one)


def show(value: object) -> str:
    """The value as the user would write it in a call."""
    if isinstance(value, partial):
        options = "".join(f", {name}={option!r}" for name, option in value.keywords.items())
        return f"partial({show(value.func)}{options})"
    if isinstance(value, nn.Module):
        return f"{type(value).__name__}(...)"
    return getattr(value, "__name__", type(value).__name__) if callable(value) else repr(value)
