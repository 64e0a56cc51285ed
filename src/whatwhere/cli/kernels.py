"""`whatwhere kernels`: what can run gates here, and what would run for a shape."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from whatwhere.ops.dispatch import Backend

__all__ = ["Kernels"]

_HEADERS = ("backend", "available", "devices", "dtypes", "build")
_MOST = 2**60
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class Kernels:
    """Build the C++ kernels for this machine's CPU, once, and print what can run gates here.

    They take a minute or so to compile, need a C++ compiler, and are kept in ~/.cache/whatwhere/kernels (or what
    WHATWHERE_CACHE says) for this version of torch and this CPU. Gates use them from then on; without them everything
    works in plain torch, only slower. The last line says what would run for a map of the given shape, and why; the
    environment variable WHATWHERE_BACKEND (auto, reference, cpu or triton) chooses otherwise.

    The exit status is 0, or 1 where the CPU kernels cannot be built or used though this system could have them.

    For example: whatwhere kernels --shape 8,256,56,56 --dtype bfloat16 --layout channels_last
    """

    check: bool = False
    """Build nothing, only look."""
    force: bool = False
    """Build anew, whatever is there."""
    shape: str = "8,256,56,56"
    """Of a map: batch, channels, and one to three spatial sizes."""
    dtype: str = "float32"
    """Of the map: float32, bfloat16, float16 or another of torch's floating-point types."""
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    """Of the map in memory."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the map would be; it need not exist here."""

    def run(self) -> int:
        """Build if need be, look, and print; Markdown when standard output is not a terminal.

        Raises:
            KernelError: on a bad option, or where WHATWHERE_BACKEND asks for what cannot run.
        """
        from whatwhere.errors import KernelError
        from whatwhere.experiments.grid import Grid
        from whatwhere.ops.cpu import built, problem, target
        from whatwhere.ops.dispatch import explain, table

        x = self._map()
        wanted, failed = target.unsupported() is None, False
        if wanted and not self.check:
            try:
                _build(self.force)
            except KernelError as error:
                print(error, file=sys.stderr)
                failed = True
        Grid(_HEADERS, [_row(backend) for backend in table()], frozenset(_HEADERS)).show()
        print()
        if (path := built()) is not None:
            print(f"the cpu kernels are in {path}")
        name, reason = explain(x)
        print(f"{'x'.join(map(str, x.shape))} {self.dtype} {self.layout} on {self.device}: {name} would run ({reason})")
        return int(failed or (wanted and problem() is not None))

    def _map(self) -> "torch.Tensor":
        """A map without memory, on a device that need not exist."""
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        from whatwhere.errors import KernelError, closest

        if self.check and self.force:
            raise KernelError("kernels --check --force: to look and to build anew exclude each other", fix="give one")
        sizes = [int(size) if size.strip().isdecimal() else 0 for size in self.shape.split(",")]
        if not 3 <= len(sizes) <= 5 or not 0 < prod(sizes) < _MOST:
            raise KernelError(
                "kernels --shape: a map has a batch, channels and one to three spatial sizes, none of them 0, and less "
                "than 2^60 numbers",
                got=f"--shape {self.shape}",
                fix="for example --shape 8,256,56,56",
            )
        dtype = getattr(torch, self.dtype, None)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            known = ("float32", "bfloat16", "float16", "float64")
            raise KernelError(
                "kernels --dtype: torch has no such floating-point type",
                got=f"--dtype {self.dtype}",
                closest=closest(self.dtype, known, 1),
                fix=f"one of {', '.join(known)}",
            )
        with FakeTensorMode():
            x = torch.empty(sizes, dtype=dtype, device=self.device)
        return x if self.layout == "contiguous" else x.movedim(1, -1).contiguous().movedim(-1, 1)


def _row(backend: "Backend") -> tuple[str, ...]:
    problem = backend.problem()
    dtypes = (str(dtype).removeprefix("torch.") for dtype in backend.dtypes)
    return (
        backend.name,
        "yes" if problem is None else f"no: {problem}",
        ", ".join(backend.devices) or "all",
        ", ".join(dtypes) or "all",
        _built() if backend.name == "cpu" else "when first used" if backend.name == "triton" else "needs none",
    )


def _built() -> str:
    from whatwhere.ops import cpu

    path = cpu.built()
    return "none" if path is None else f"{_age(time.time() - path.stat().st_mtime)} old"


def _age(seconds: float) -> str:
    """In the largest unit that fits."""
    unit, size = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    count = max(0, int(seconds // size))
    return f"{count} {unit}{'s' * (count != 1)}"


def _build(force: bool) -> None:
    """Say where the kernels are, and how long they took if they were built."""
    from whatwhere.ops.cpu.build import build

    said: list[str] = []
    start = time.perf_counter()
    with _spinner() as show:

        def tell(line: str) -> None:
            said.append(line)
            show(line)

        path = build(force, tell)
    if said:
        print(f"built the CPU kernels in {time.perf_counter() - start:.0f} s: {path}\n")


@contextmanager
def _spinner() -> Iterator[Callable[[str], None]]:
    """What is going on, on standard error: beside a spinner on a terminal, as lines elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: print(line, file=sys.stderr, flush=True)
        return
    with console.status("looking") as status:
        yield status.update
