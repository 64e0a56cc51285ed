"""Do the Triton kernels run at the speed of the GPU's memory, and what does that make of BAM and CBAM?

Maps of ImageNet's and CIFAR's stages, bfloat16, channels_last. First every kernel is held against its definition, and
every gate against plain torch; then all take turns. A kernel's time is that of a CUDA graph of calls on buffers in
rotation, more of them than the L2 cache holds; its speed is beside that of ``copy_``, measured in the same turns.

    python benchmarks/gpu_kernels.py                    benchmarks/results/gpu_kernels.json; most of it is compiling
    python benchmarks/gpu_kernels.py --only CIFAR --out /tmp/x.json      the maps with this word in their names
    python benchmarks/gpu_kernels.py --dry-run --out /tmp/x.json         tiny maps, interpreted, no GPU; no speeds
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import whatwhere as ww
from whatwhere.ops import plain
from whatwhere.ops.kernels import Kernels
from whatwhere.ops.planes import Pooled

RESULTS = Path(__file__).parent / "results" / "gpu_kernels.json"
ROTATED = 256e6  # bytes that one rotation reads at least: five times the L2 cache of an H100
Run = Callable[[], Any]
Call = Callable[[Kernels, int], Any]


@dataclass(frozen=True)
class Map:
    """A map (batch, channels, side, side)."""

    name: str
    batch: int
    channels: int
    side: int

    @property
    def bytes(self) -> int:
        return 2 * self.batch * self.channels * self.side**2


MAPS = (
    Map("ImageNet stage 1", 256, 256, 56),
    Map("ImageNet stage 2", 256, 512, 28),
    Map("ImageNet stage 3", 256, 1024, 14),
    Map("ImageNet stage 4", 256, 2048, 7),
    Map("CIFAR stage 1", 128, 256, 32),
    Map("CIFAR stage 2", 128, 512, 16),
    Map("CIFAR stage 3", 128, 1024, 8),
)
TINY = (Map("dry run", 2, 32, 5),)


class Inputs:
    """What the kernels take for one map: large planes in rotation, small numbers once."""

    def __init__(self, one: Map, device: str, tiny: bool) -> None:
        batch, rows, columns = shape = one.batch, one.side**2, one.channels
        self.count = 2 if tiny else max(2, round(ROTATED / one.bytes))
        self.x, self.gradient, self.out = (
            [torch.randn(shape, device=device, dtype=torch.bfloat16) for _ in range(self.count)] for _ in range(3)
        )
        self.row, self.column = torch.rand(batch, rows, device=device), torch.rand(batch, columns, device=device)
        self.strength = torch.tensor(0.5, device=device)
        self.in_row = torch.randint(columns, (batch, rows), device=device, dtype=torch.int32)
        self.in_column = torch.randint(rows, (batch, columns), device=device, dtype=torch.int32)

    def calls(self) -> dict[str, tuple[int, Call]]:
        """By name: how often a call reads or writes a map, and the call on the buffers of a number."""
        x, gradient, row, column = self.x, self.gradient, self.row, self.column
        across, down = Pooled(row, row, self.in_row, column), Pooled(column, column, self.in_column, None)
        mean = Pooled(column, None, None, None)
        return {
            "pool positions, mean": (1, lambda k, i: k.pool(x[i], 1, None, False, False)),
            "pool positions, mean and max": (1, lambda k, i: k.pool(x[i], 1, None, True, True)),
            "pool channels of the gated map": (1, lambda k, i: k.pool(x[i], 2, column, True, True)),
            "gradient of that gate": (1, lambda k, i: k.pool_weight_gradient(x[i], 2, row, row, self.in_row)),
            "apply, BAM": (2, lambda k, i: k.apply(x[i], row, column, "sum", None, None, False)),
            "apply, CBAM": (2, lambda k, i: k.apply(x[i], row, column, "gates", None, None, False)),
            "apply, CBAM, strength, residual, ReLU": (
                3,
                lambda k, i: k.apply(x[i], row, column, "gates", self.strength, gradient[i], True),
            ),
            "gradients of the gate, BAM": (
                2,
                lambda k, i: k.apply_gradients(gradient[i], x[i], row, column, "sum", None),
            ),
            "gradients of the gate, CBAM": (
                2,
                lambda k, i: k.apply_gradients(gradient[i], x[i], row, column, "gates", None),
            ),
            "gradient of the map, BAM": (
                2,
                lambda k, i: k.map_gradient(x[i], gradient[i], row, column, "sum", None, None, mean, None),
            ),
            "gradient of the map, CBAM": (
                2,
                lambda k, i: k.map_gradient(x[i], gradient[i], row, column, "gates", None, across, down, None),
            ),
        }


class Clock:
    """Times a call on the GPU, or on the CPU in a dry run."""

    def __init__(self, cuda: bool) -> None:
        self.cuda = cuda

    def seconds(self, run: Run) -> float:
        if not self.cuda:
            start = time.perf_counter()
            run()
            return time.perf_counter() - start
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        first.record()
        run()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3

    def graph(self, run: Run) -> Run:
        """The same work without its launches; in a dry run, the same work."""
        if not self.cuda:
            return run
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay

    def medians(self, runs: dict[Any, Run], rounds: int) -> dict[Any, float]:
        """Seconds of each, which take turns; the first turns of all are not counted."""
        seen: dict[Any, list[float]] = {name: [] for name in runs}
        for turn in range(rounds + 2):
            for name, run in runs.items():
                seconds = self.seconds(run)
                if turn > 1:
                    seen[name].append(seconds)
        return {name: statistics.median(values) for name, values in seen.items()}


def agree(found: Any, wanted: Any, name: str, near: float) -> None:
    """Results of two ways to compute the same: integers equal, numbers as near as their size allows."""
    pairs = zip(*(one if isinstance(one, tuple | list) else (one,) for one in (found, wanted)), strict=True)
    for one, other in pairs:
        if one is None and other is None:
            continue
        allowed = near * max(1.0, other.abs().max().item()) if other.is_floating_point() else 0.0
        worst = (one.double() - other.double()).abs().max().item()
        if not worst <= allowed:
            raise SystemExit(
                f"{name}: not what plain torch computes, off by {worst:.3g} where {allowed:.3g} is allowed"
            )


def kernels_of(one: Map, triton: Kernels, clock: Clock, rounds: int, tiny: bool) -> list[dict[str, Any]]:
    """Every kernel on one map: right first, then how long in a graph and called one by one."""
    device = "cuda" if clock.cuda else "cpu"
    inputs = Inputs(one, device, tiny)
    turns, runs = range(inputs.count), {}
    calls = {"copy": (2, lambda _, i: inputs.out[i].copy_(inputs.x[i])), **inputs.calls()}
    for name, (_, call) in calls.items():
        if name != "copy":
            agree(call(triton, 0), call(plain, 0), f"{name}, {one.name}", 1e-2)

        def rotate(call: Call = call) -> None:
            for number in turns:
                call(triton, number)

        runs[name, "graph"], runs[name, "eager"] = clock.graph(rotate), rotate
    times = {key: seconds / inputs.count for key, seconds in clock.medians(runs, rounds).items()}
    speed = 2 * one.bytes / times["copy", "graph"]
    return [
        {
            "map": one.name,
            "megabytes": one.bytes / 1e6,
            "kernel": name,
            "passes": passes,
            "graph_us": 1e6 * times[name, "graph"],
            "eager_us": 1e6 * times[name, "eager"],
            "gigabytes_per_second": passes * one.bytes / times[name, "graph"] / 1e9,
            "of_copy": passes * one.bytes / times[name, "graph"] / speed,
        }
        for name, (passes, _) in calls.items()
    ]


def ways(gate: nn.Module, x: Tensor, clock: Clock) -> Iterator[tuple[str, Run, Run]]:
    """Name, forward (evaluation, no gradients), forward and backward (training), for each that runs here."""
    upstream = torch.randn_like(x)
    made: Any = torch.compile(gate, backend="inductor" if clock.cuda else "eager")
    for name, backend, net in (
        ("plain torch", "reference", gate),
        ("Triton", "triton", gate),
        ("plain torch, compiled", "reference", made),
    ):
        if backend == "triton" and not clock.cuda:
            continue

        def forward(backend: str = backend, net: Any = net) -> Tensor:
            gate.eval()
            with ww.backend(backend), torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16):
                return net(x.detach())  # type: ignore[no-any-return]

        def both(backend: str = backend, net: Any = net) -> list[Tensor]:
            gate.train()
            with ww.backend(backend):
                with torch.autocast(x.device.type, torch.bfloat16):
                    out = net(x)
                return [out, *torch.autograd.grad(out, [x, *gate.parameters()], upstream)]

        yield name, forward, both


def gates_of(one: Map, clock: Clock, rounds: int) -> list[dict[str, Any]]:
    """BAM and CBAM on one map: called one by one and in a graph."""
    device, shape = "cuda" if clock.cuda else "cpu", (one.batch, one.channels, one.side, one.side)
    rows = []
    for kind in (ww.BAM, ww.CBAM):
        torch.manual_seed(0)
        torch.compiler.reset()
        gate = kind(one.channels).to(device).to(memory_format=torch.channels_last)
        for norm in (each for each in gate.modules() if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d)):
            norm.momentum = 0.0  # training must not change what evaluation computes
        x = torch.randn(shape, device=device, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        x.requires_grad_()
        runs: dict[tuple[str, str, str], Run] = {}
        right: dict[str, Any] = {}
        for name, *both in ways(gate, x, clock):
            for what, run in zip(("forward", "forward and backward"), both, strict=True):
                # weight gradients are sums over all positions of values rounded to bfloat16 on the way
                agree(run(), right.setdefault(what, run()), f"{kind.__name__}, {name}, {what}, {one.name}", 5e-2)
                runs[name, what, "eager"], runs[name, what, "graph"] = run, clock.graph(run)
        for (name, what, how), seconds in clock.medians(runs, rounds).items():
            row = {"map": one.name, "gate": kind.__name__, "way": name, "pass": what, "launched": how}
            rows.append({**row, "us": 1e6 * seconds})
    return rows


def show(found: dict[str, Any]) -> None:
    """The tables on the terminal."""
    kernels = Table("map", "MB", "kernel", "in a graph", "one by one", "GB/s", "of a copy")
    for row in found["kernels"]:
        times = (f"{row['graph_us']:.1f} us", f"{row['eager_us']:.1f} us", f"{row['gigabytes_per_second']:.0f}")
        kernels.add_row(row["map"], f"{row['megabytes']:.0f}", row["kernel"], *times, f"{row['of_copy']:.0%}")
    gates = Table("map", "gate", "pass", "way", "launched", "time")
    for row in found["gates"]:
        gates.add_row(*(row[key] for key in ("map", "gate", "pass", "way", "launched")), f"{row['us']:.1f} us")
    console = Console()
    console.print(kernels)
    console.print(gates)


def main(rounds: int = 21, only: str = "", dry_run: bool = False, out: Path = RESULTS) -> None:
    """Measure the kernels and the gates.

    Args:
        rounds: turns of each.
        only: the maps with this in their names.
        dry_run: tiny maps on the CPU, kernels interpreted, to see that it runs; the times mean nothing.
        out: the JSON file.
    """
    if dry_run:
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, as both imports below do
    elif not torch.cuda.is_available():
        print("gpu_kernels.py: there is nothing to measure: torch sees no CUDA device", file=sys.stderr)
        print("  fix: run it where there is one, or with --dry-run --out FILE to see that it works", file=sys.stderr)
        raise SystemExit(2)
    from whatwhere.experiments.environment import environment
    from whatwhere.ops import triton

    torch.manual_seed(0)
    clock, rounds = Clock(not dry_run), 1 if dry_run else rounds
    found: dict[str, Any] = {"format": 1, "dry_run": dry_run, "rounds": rounds, **environment()}
    found |= {"kernels": [], "gates": []}
    for one in TINY if dry_run else [one for one in MAPS if only in one.name]:
        print(f"{one.name}: kernels", file=sys.stderr)
        found["kernels"] += kernels_of(one, triton, clock, rounds, dry_run)
        print(f"{one.name}: gates", file=sys.stderr)
        found["gates"] += gates_of(one, clock, rounds)
    out.write_text(json.dumps(found, indent=2) + "\n")
    show(found)


if __name__ == "__main__":
    tyro.cli(main)
