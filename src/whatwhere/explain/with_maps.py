"""The maps of gates as outputs of a program."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from whatwhere.errors import AttachError
from whatwhere.explain.finding import gates_of
from whatwhere.gates import Gate
from whatwhere.gates.gate import Factors
from whatwhere.ops import factor

__all__ = ["WithMaps"]


class WithMaps(nn.Module):
    """A network that also returns its gates' maps, for programs that leave Python.

    The output is ``(what the network gives, {site: {"channel": ..., "spatial": ..., "factor": ...}})``, the maps as in
    ``Maps``; a gate that is switched off is missing. They are outputs like any other, so ``torch.compile(...,
    fullgraph=True)`` and ``torch.export.export`` keep them, and gradients flow through them. The network is shared, not
    copied.

    Args:
        model: a network with gates of this package. Its input is one tensor or several.
        sites: which to return, one or several; None for all.

    Raises:
        AttachError: there are no such gates, or a site does not exist.
    Example:
        >>> host = nn.Sequential(nn.Conv2d(3, 16, 3), BAM(16))
        >>> sizes = ({0: torch.export.Dim("batch", min=1)},)  # inputs are positional, hence the tuple of a tuple
        >>> program = torch.export.export(WithMaps(host.eval()), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=(sizes,))
        >>> program.module()(torch.zeros(5, 3, 8, 8))[1]["1"]["spatial"].shape
        torch.Size([5, 1, 6, 6])
    """

    def __init__(self, model: nn.Module, sites: str | Iterable[str] | None = None) -> None:
        super().__init__()
        self.model = model
        call = f"WithMaps({type(model).__name__})"
        found = gates_of(model, sites, call)
        self._sites = tuple(name for name, gate in found.items() if isinstance(gate, Gate))
        if not self._sites:
            raise AttachError(f"{call}: gates of other libraries show no maps", fix="record(model) shows their effect")

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, dict[str, Tensor | None]]]:
        gates = gates_of(self.model, self._sites, "")
        before: dict[str, Any] = {name: gate.observers for name, gate in gates.items()}
        sinks: dict[str, Any] = {name: _Sink() for name in gates}
        for name, gate in gates.items():
            gate.observers = *before[name], sinks[name]  # type: ignore[assignment]
        try:
            output = self.model(*args, **kwargs)
        finally:
            for name, gate in gates.items():
                gate.observers = before[name]
        return output, {name: sink.maps for name, sink in sinks.items() if sink.maps is not None}


class _Sink:
    """An observer that holds one gate's maps for the length of a forward."""

    def __init__(self) -> None:
        self.maps: dict[str, Tensor | None] | None = None

    def __call__(self, gate: Gate, x: Tensor, factors: Factors) -> None:
        self.maps = {"channel": factors.channel, "spatial": factors.spatial, "factor": factor(*factors)}
