"""What the gates of a trained network do to one batch: numbers for each site, JSON-able."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere.attach.gated import gated_modules
from whatwhere.gates import BAM, CBAM, SE, ChannelGate, Gate, SpatialGate

__all__ = ["gate_statistics"]

# A factor is saturated in the outermost twentieths of the range that its gate can give.
_EDGE = 0.05


def gate_statistics(model: nn.Module, images: Tensor) -> list[dict[str, Any]]:
    """How each gate of ``model`` treats one batch, in eval mode; the model, its modes and its hooks stay as they were.

    A site has these keys, numbers None where they cannot be had:

    * ``site``, ``gate``, ``channels``, ``size``: its name, the gate's text, and the shape of the map it reads.
    * ``strength``: how far the factor acts (``start="identity"``); None means wholly. The figures below leave it out.
    * ``mean``, ``sd``, ``low``, ``high``: of the factor over images, channels and positions, each number it has once.
    * ``sd_images``: how much it depends on the image: the spread over images at one channel and position, root mean
      square over these. ``sd_within``: the spread inside an image, root mean square over images. Where the first is
      near zero, the gate is a constant that could be folded away.
    * ``saturated_low``, ``saturated_high``: shares of it in the lowest and the highest twentieth of its gate's range.
    * ``gain``: the gate's output over its input, both as root mean square over the batch, strength included.

    A module of another library shows no factor: it has a ``gain`` alone. A gate that did not run (switched off) has
    nothing but its name; of one that runs several times in a forward, the first is described.

    Args:
        model: a network with gates, not wrapped by ``torch.compile``; one without gives an empty list.
        images: float (B, C, H, W), normalised as in training, on the model's device.

    Cost: one forward and, for each gate, its maps once more; no map is kept.
    """
    gates = {name: gated.gate for name, gated in gated_modules(model).items()}
    found: dict[str, dict[str, Any]] = {}
    with _evaluating(model), ExitStack() as hooks, torch.no_grad():
        for name, gate in gates.items():
            handle = gate.register_forward_hook(partial(_look, name, found))
            hooks.callback(handle.remove)
        model(images)
    return [found.get(name) or _entry(name, gate) for name, gate in gates.items()]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; each module then gets back its own mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _look(name: str, found: dict[str, dict[str, Any]], gate: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    if name in found:
        return
    x: Tensor = inputs[0]
    entry = {**_entry(name, gate), "channels": x.shape[1], "size": list(x.shape[2:])}
    entry["gain"] = _finite(_root_mean_square(output) / _root_mean_square(x))
    if isinstance(gate, Gate):
        entry |= _factor(gate.maps(x).factor.float(), _span(gate))
    found[name] = entry


def _entry(name: str, gate: nn.Module) -> dict[str, Any]:
    """All keys, nothing known but the names."""
    strength = getattr(gate, "strength", None)
    known = {"site": name, "gate": repr(gate).split("\n")[0].rstrip("("), "channels": None, "size": None}
    figures = ("mean", "sd", "low", "high", "sd_images", "sd_within", "saturated_low", "saturated_high", "gain")
    acts = strength.item() if isinstance(strength, nn.Parameter) else None
    return {**known, "strength": acts, **dict.fromkeys(figures)}


def _factor(factor: Tensor, span: tuple[float, float] | None) -> dict[str, float | None]:
    flat = factor.flatten(1)
    within = flat.var(1, correction=0).mean().sqrt()
    images = flat.var(0, correction=0).mean().sqrt() if len(flat) > 1 else None
    figures = {
        "mean": flat.mean(),
        "sd": flat.std(correction=0),
        "low": flat.min(),
        "high": flat.max(),
        "sd_images": images,
        "sd_within": within,
    }
    if span is not None:
        low, high = span
        edge = _EDGE * (high - low)
        figures["saturated_low"] = (flat < low + edge).float().mean()
        figures["saturated_high"] = (flat > high - edge).float().mean()
    return {key: None if value is None else _finite(value) for key, value in figures.items()}


def _span(gate: Gate) -> tuple[float, float] | None:
    """The least and the greatest factor that this kind of gate can give; None for kinds that others wrote."""
    if type(gate) is BAM:
        return 1.0, 2.0
    return (0.0, 1.0) if type(gate) in (CBAM, SE, ChannelGate, SpatialGate) else None


def _root_mean_square(x: Tensor) -> Tensor:
    return x.float().square().mean().sqrt()


def _finite(value: Tensor) -> float | None:
    """JSON has no word for NaN and infinity."""
    number = value.item()
    return number if math.isfinite(number) else None
