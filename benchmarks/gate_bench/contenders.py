"""Who takes part in a race of one gate: ours under every backend, and the peers, all with the same weights."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gate_bench.agreement import TOLERANCE, difference, evaluate, far, finite, randomise, share
from gate_bench.peers import OURS, RIVALS, Peer
from gate_bench.ways import backends

__all__ = ["Contender", "contenders"]


@dataclass(frozen=True)
class Contender:
    """A gate, and why it must not be timed if it must not.

    Attributes:
        gate: None when the library raised.
        errors: relative differences of outputs and gradients to our gate in plain torch with the same weights.
    """

    library: str
    form: str
    gate: nn.Module | None = None
    backend: str | None = None
    compiled: bool = False
    errors: tuple[float | None, float | None] = (None, None)
    problem: str | None = None

    @property
    def name(self) -> str:
        """Unique in a race."""
        words = (self.library, self.form, self.backend or "", "compiled" if self.compiled else "")
        return " ".join(word for word in words if word)


def contenders(gate: str, x: Tensor, peers: Sequence[Peer], compiled: bool) -> list[Contender]:
    """All that have this gate: for each form that a peer has, ours, and then the peers."""
    found: list[Contender] = []
    for form in sorted({"paper", *(peer.form for peer in peers)}):
        torch.manual_seed(0)
        mine = OURS[gate](x.shape[1], form)
        randomise(mine)
        found += _judged("whatwhere", form, _like(copy.deepcopy(mine), x), mine, x, backends(), compiled)
        for peer in peers:
            if peer.form == form:
                rival = peer.library == RIVALS[gate]
                found += _theirs(peer, copy.deepcopy(mine), x, compiled and rival)
    return found


def _theirs(peer: Peer, mine: nn.Module, x: Tensor, compiled: bool) -> Iterator[Contender]:
    try:
        gate = peer.build(x.shape[1])
        share(mine, gate, peer.flipped)
        yield from _judged(peer.library, peer.form, _like(gate, x), mine, x, [None], compiled)
    except Exception as error:  # theirs may fail in any way, and that is a result
        yield Contender(peer.library, peer.form, problem=f"{type(error).__name__}: {error}".splitlines()[0])


def _judged(
    library: str,
    form: str,
    gate: nn.Module,
    mine: nn.Module,
    x: Tensor,
    names: Sequence[str | None],
    compiled: bool,
) -> Iterator[Contender]:
    """``gate`` under each backend, and compiled, held against ``mine`` in plain torch and float32.

    What is rounded to the map's dtype is so in both: the map and the weights.
    """
    wanted = evaluate(copy.deepcopy(mine).to(x.dtype).float(), x.float(), "reference")
    ways: list[tuple[str | None, nn.Module]] = [(name, gate) for name in names]
    if compiled:
        ways.append((None, torch.compile(gate, dynamic=False)))  # type: ignore[arg-type]
    for name, way in ways:
        errors = difference(evaluate(way, x, name), wanted)
        problem = far(errors, TOLERANCE[x.dtype])
        yield Contender(library, form, way, name, way is not gate, (finite(errors[0]), finite(errors[1])), problem)


def _like(module: nn.Module, x: Tensor) -> nn.Module:
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    return module.to(dtype=x.dtype, memory_format=layout)  # type: ignore[call-overload, no-any-return]
