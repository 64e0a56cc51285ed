"""Which kernels run: one table, one context manager, one environment variable."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from whatwhere.errors import KernelError, closest
from whatwhere.ops.kernels import Kernels
from whatwhere.ops.planes import Planes, planes

__all__ = ["VARIABLE", "Backend", "backend", "choose", "explain", "table", "traced"]

VARIABLE = "WHATWHERE_BACKEND"


@dataclass(frozen=True)
class Backend:
    """A set of kernels: what it runs on, why it cannot run here (or None), where its five functions are."""

    name: str
    devices: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    problem: Callable[[], str | None]
    kernels: Callable[[], Kernels]

    def takes(self, x: Tensor) -> bool:
        return x.device.type in self.devices and x.dtype in self.dtypes


@cache
def _cpu() -> Kernels:
    from whatwhere.ops import cpu

    cpu.load()
    return _module("operators")  # type: ignore[no-any-return]


def _cpu_problem() -> str | None:
    from whatwhere.ops import cpu

    return cpu.problem()


@cache
def _triton_problem() -> str | None:
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if torch.version.hip or torch.cuda.get_device_capability() < (8, 0):
        return f"they are for NVIDIA GPUs of compute capability 8.0 and later, not {torch.cuda.get_device_name()}"
    try:
        _triton()
    except ImportError as error:
        return f"triton does not import: {error}"
    return None


@cache
def _triton() -> Kernels:
    import_module("whatwhere.ops.triton")  # registers them
    return _module("operators")  # type: ignore[no-any-return]


@cache
def _module(name: str) -> Any:
    return import_module(f"whatwhere.ops.{name}")


_HALVES = (torch.float16, torch.bfloat16)
# The order is that of preference; the last one takes everything.
_TABLE = (
    Backend("triton", ("cuda",), (torch.float32, *_HALVES), _triton_problem, _triton),
    Backend("cpu", ("cpu",), (torch.float32, torch.bfloat16), _cpu_problem, _cpu),
    Backend("reference", (), (), lambda: None, lambda: _module("plain")),
)
_forced: ContextVar[str | None] = ContextVar("whatwhere_backend", default=None)


def table() -> tuple[Backend, ...]:
    """All backends, the preferred first."""
    return _TABLE


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Choose what runs the gates' operations inside the block, in this thread: 'auto', 'reference', 'cpu' or 'triton'.

    'auto' takes the fastest that is available for each map, 'reference' is plain torch; any other runs or raises,
    and never falls back. The environment variable WHATWHERE_BACKEND does the same for a whole process. What torch
    traces (compile, export, functorch) is plain formulas whatever is chosen.

    Raises:
        KernelError: an unknown name, or a backend that cannot run on this machine; on a map that the chosen backend
            does not take, the gate's forward raises it.
    Example:
        >>> with backend("reference"):
        ...     BAM(32)(torch.zeros(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """
    _named(name, f"backend({name!r})")
    before = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(before)


def choose(x: Tensor) -> tuple[Planes, Kernels] | None:
    """The planes of a map and the kernels to run on them; None where the formulas have to do."""
    if traced(x):
        return None
    given, asked = _asked()
    seen = planes(x)
    fake = isinstance(x, FakeTensor)
    if asked is not None and asked.name != "reference" and not fake:
        _fits(asked, x, seen, given)
    if seen is None:
        return None
    found = _TABLE[-1] if fake else asked or _first(x)
    return seen, found.kernels()


def explain(x: Tensor) -> tuple[str, str]:
    """The name of the backend that would run for this map, and why."""
    given, asked = _asked()
    if asked is not None and asked.name != "reference":
        _fits(asked, x, planes(x), given)
    if asked is not None:
        return asked.name, f"{given} asks for it"
    if planes(x) is None:
        return "reference", "the map is neither contiguous nor channels_last"
    reasons = []
    for one in _TABLE[:-1]:
        if not one.takes(x):
            continue
        problem = one.problem()
        if problem is None:
            return one.name, f"the fastest for {_kind(x)}"
        reasons.append(f"{one.name}: {problem}")
    return "reference", "; ".join(reasons) or f"no kernels take {_kind(x)}"


def _first(x: Tensor) -> Backend:
    for one in _TABLE[:-1]:
        if one.takes(x):
            problem = one.problem()
            if problem is None:
                return one
            _say_once(one.name, problem)
    return _TABLE[-1]


@cache
def _say_once(name: str, problem: str) -> None:
    warnings.warn(
        f"gates run in plain torch, for the {name} kernels cannot: {problem}. "
        f"`whatwhere kernels` tells more; {VARIABLE}=reference makes this silent.",
        stacklevel=2,
    )


def _asked() -> tuple[str, Backend | None]:
    """How the user chose, in his own words, and what he chose; None for 'auto'."""
    name = _forced.get()
    given = f"backend({name!r})"
    if name is None:
        name = os.environ.get(VARIABLE) or "auto"
        given = f"{VARIABLE}={name}"
    return given, None if name == "auto" else _named(name, given)


def _named(name: str, given: str) -> Backend | None:
    names = ["auto", *(one.name for one in reversed(_TABLE))]
    if name not in names:
        raise KernelError(
            f"{given}: there is no such backend", closest=closest(str(name), names, 1), fix=f"one of {', '.join(names)}"
        )
    found = next((one for one in _TABLE if one.name == name), None)
    problem = None if found is None else found.problem()
    if problem is not None:
        raise KernelError(
            f"{given}: the {name} kernels cannot run here", got=problem, fix="backend('auto') takes what can run"
        )
    return found


def _fits(asked: Backend, x: Tensor, seen: Planes | None, given: str) -> None:
    if not asked.takes(x):
        dtypes = ", ".join(str(dtype).removeprefix("torch.") for dtype in asked.dtypes)
        raise KernelError(
            f"{given}: the {asked.name} kernels take {dtypes} on {' and '.join(asked.devices)}",
            got=_kind(x),
            fix="backend('auto') runs the rest in plain torch",
        )
    if seen is None:
        raise KernelError(
            f"{given}: the {asked.name} kernels take maps that are contiguous or channels_last",
            got=f"shape {tuple(x.shape)}, strides {x.stride()}",
            fix="x.contiguous(), or backend('auto')",
        )


def _kind(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} on {x.device.type}"


def traced(x: Tensor) -> bool:
    """Whether torch is writing a program rather than computing: it can see through formulas and not through kernels."""
    return (
        torch.compiler.is_compiling()
        or type(x) not in (Tensor, nn.Parameter, FakeTensor)
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )
