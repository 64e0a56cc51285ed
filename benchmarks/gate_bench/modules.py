"""Races of one gate on one map, forward and forward with backward."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from gate_bench.contenders import Contender, contenders
from gate_bench.memory import allocated, kept
from gate_bench.peers import PEERS, REDUCTION, found
from gate_bench.report import Cell, Row
from gate_bench.timing import Turn, race, ratio, times
from gate_bench.ways import running
from whatwhere.ops import dispatch

__all__ = ["CASES", "COMPILED", "PASSES", "QUICK", "Case", "measure"]

# How often a map must be read or written at least, forward and backward, when no kernel can hold all of it: reads for
# each reduction, a read and a write to apply, and for BAM the reads and writes of maps that are a sixteenth of it.
PASSES = {"cbam": (4, 6), "bam": (3 + 6 / REDUCTION, 5 + 12 / REDUCTION), "se": (3, 4)}


@dataclass(frozen=True)
class Case:
    """A gate and the map it is raced on."""

    gate: str
    shape: tuple[int, int, int, int]
    dtype: str = "float32"
    layout: str = "contiguous"

    @property
    def name(self) -> str:
        """What ``--only`` looks into."""
        return f"{self.gate} {'x'.join(map(str, self.shape))} {self.dtype} {self.layout}"

    def map(self) -> Tensor:
        """The same random map whenever it is asked for."""
        x = torch.randn(self.shape, generator=torch.Generator().manual_seed(0)).to(getattr(torch, self.dtype))
        return x.to(memory_format=torch.channels_last) if self.layout == "channels_last" else x


_GATES = ("cbam", "bam", "se")
_LAYOUTS = ("contiguous", "channels_last")
_LARGE = (8, 256, 56, 56)
_OTHERS = ((8, 512, 28, 28), (8, 1024, 14, 14), (8, 2048, 7, 7), (128, 64, 32, 32))
CASES = (
    *(Case(gate, _LARGE, dtype, layout) for gate in _GATES for dtype in ("float32", "bfloat16") for layout in _LAYOUTS),
    *(Case(gate, shape) for gate in _GATES for shape in _OTHERS),
)
COMPILED = frozenset(Case(gate, _LARGE, layout=layout) for gate in _GATES for layout in _LAYOUTS)
QUICK = (Case("cbam", (4, 32, 7, 9)), Case("bam", (4, 32, 7, 9), "bfloat16", "channels_last"))


def measure(case: Case, rounds: int, compiled: bool) -> list[Cell]:
    """Both phases of a case."""
    x = case.map()
    peers = [peer for peer in PEERS if peer.gate == case.gate and peer.library in found()]
    torch._dynamo.reset()
    seen = contenders(case.gate, x, peers, compiled)
    forward, backward = PASSES[case.gate]
    return [
        _race(case, "forward", x, seen, rounds, forward),
        _race(case, "forward and backward", x.clone().requires_grad_(), seen, rounds, forward + backward),
    ]


def _race(case: Case, phase: str, x: Tensor, seen: Sequence[Contender], rounds: int, passes: float) -> Cell:
    turns = {one.name: _turn(one, one.gate, x) for one in seen if one.gate is not None and one.problem is None}
    still, other = x.detach(), torch.empty_like(x).detach()
    seconds = race({"clone": Turn(still.clone), "copy": Turn(partial(other.copy_, still)), **turns}, rounds)
    auto, _ = dispatch.explain(x)
    cell = Cell(
        case.gate, list(case.shape), case.dtype, case.layout, phase, rounds, passes, auto,
        times(seconds["clone"]), times(seconds["copy"]), [],
    )  # fmt: skip
    return replace(cell, rows=[_row(one, turns.get(one.name), x, seconds, cell) for one in seen])


def _turn(one: Contender, gate: nn.Module, x: Tensor) -> Turn:
    within = partial(running, gate, x.requires_grad, one.backend)
    if not x.requires_grad:
        return Turn(partial(gate, x), within)
    leaves, towards = [x, *gate.parameters()], torch.randn_like(x).detach()
    return Turn(lambda: torch.autograd.grad(gate(x), leaves, towards), within)


def _row(one: Contender, turn: Turn | None, x: Tensor, seconds: dict[str, list[float]], cell: Cell) -> Row:
    """What is written of a contender; its memory is taken after the race."""
    row = Row(one.library, one.form, one.backend, one.compiled, one.problem, *one.errors)
    if turn is None or one.gate is None:
        return row
    mine, ours = seconds[one.name], seconds.get(f"whatwhere {one.form} {cell.auto}")
    clones, copies = (ratio(mine, seconds[name]).median for name in ("clone", "copy"))
    with turn.within():
        blocks, most = allocated(turn.run, x.nbytes / 2)
        held = kept(one.gate, x) / x.nbytes if x.requires_grad else None
    return replace(
        row,
        times=times(mine),
        clones=clones,
        copies=copies,
        share=cell.passes / (2 * copies),
        against=None if ours is None else ratio(mine, ours),
        kept=held,
        allocations=blocks,
        peak=most / x.nbytes,
    )
