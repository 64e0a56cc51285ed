"""The module whose output a class activation map weighs, found by one fake forward."""

import math
from collections.abc import Iterator, Sequence

from torch import nn

from whatwhere.attach import Gated
from whatwhere.attach.trace import Call, trace
from whatwhere.errors import HostError

__all__ = ["layers", "target_layer"]


def target_layer(model: nn.Module, input_size: Sequence[int] | None = None, call: str = "target_layer") -> str:
    """The module that gives the last feature map of more than one position, outermost where several give it.

    The name is the one that the module had before any gate was attached, so a network has the same layer with gates and
    without; a gate that stands behind that very module is part of its output. The map of an adaptive pooling has the
    size of the network's head and not of the picture, and does not count. Nothing is computed and nothing is changed.

    Args:
        model: any network.
        input_size: (channels, height, width); None: the channels of the first convolution, at 224 px a side.
        call: what to name in messages.
    Raises:
        HostError: no module gives such a map.
        AttachError: the network cannot run on this input.
    """
    found = trace(model, input_size, call=call)
    names = {id(module): name for name, module in reversed(layers(model).items())}
    last: dict[str, Call] = {}  # a module that is called again gives its last map
    for called in found.calls:
        last[names.get(id(model.get_submodule(called.names[0])), "")] = called
    last.pop("", None)  # the network itself, and what belongs to gates and their wrappers

    def fits(called: Call) -> bool:
        if called.output is None or not found.is_map(called.output):
            return False
        value = found.values[called.output]
        return math.prod(value.shape[2:]) > 1 and "adaptive" not in value.op

    ranks = {name: (called.output, -len(called.stack), -called.index) for name, called in last.items() if fits(called)}
    if not ranks:
        raise HostError(
            f"{call}: no module of the network gives a feature map of more than one position",
            got=f"{type(model).__name__} on images of {' x '.join(map(str, found.size))} pixels",
            fix="take larger images, or name the layer",
        )
    return max(ranks, key=ranks.__getitem__)


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """All modules of the network by the names they had before gates were attached; a gated one is its wrapper."""
    return dict(_walk(model, ""))


def _walk(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    host = module.host if isinstance(module, Gated) else module
    for name, child in host.named_children():
        yield prefix + name, child
        yield from _walk(child, f"{prefix}{name}.")
