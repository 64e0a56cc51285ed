"""Measured time of one forward, several modules side by side."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from whatwhere.cost.inputs import Input, as_tensors, home
from whatwhere.errors import HostError
from whatwhere.modes import evaluating

__all__ = ["Latency", "latency"]


@dataclass(frozen=True)
class Latency:
    """Time of one forward in milliseconds, and what it was measured with.

    Attributes:
        median_ms: median over the rounds.
        low_ms: first quartile.
        high_ms: third quartile.
        rounds: how many forwards were timed.
        threads: torch's threads on the CPU.
        shapes: of the inputs, batch included.
        dtype: of the module's parameters.
        device: where it ran; a GPU by its name.
        torch_version: the torch that ran it.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    threads: int
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    device: str
    torch_version: str


def latency(
    modules: Mapping[str, nn.Module],
    inputs: Input | Sequence[Input],
    *,
    rounds: int = 30,
    warmup: int = 5,
    threads: int | None = None,
) -> dict[str, Latency]:
    """Times one forward of each module in evaluation mode, without gradients.

    All modules are warmed up first; then every round times each of them once, beginning with another one each time, so
    that a machine that grows slower or busier does so for all. On CUDA the device is synchronised before and after, and
    the time includes the launch. Every submodule's mode and torch's thread count are put back.

    Args:
        modules: what to compare, by name.
        inputs: one tensor or one shape with its batch, or a sequence of them; a shape stands for normal noise of the
            module's own dtype and device, the same for every module.
        rounds: timed forwards of each module.
        warmup: untimed forwards of each module.
        threads: torch's threads on the CPU; by default as they are.

    Raises:
        HostError: no modules, no input or a malformed one, fewer than 1 round or thread, or a negative warm-up.
    """
    call = f"latency({', '.join(map(repr, modules)) or '{}'})"
    _check(call, modules, rounds, warmup, threads)
    single = isinstance(inputs, Tensor) or (isinstance(inputs, tuple) and all(isinstance(n, int) for n in inputs))
    listed: Sequence[Input] = [inputs] if single else inputs  # type: ignore[list-item, assignment]
    tensors = {name: as_tensors(module, listed, _noise, call) for name, module in modules.items()}
    with evaluating(*modules.values()), _threads(threads), torch.no_grad():
        times = _rounds(modules, tensors, rounds, warmup)
        return {name: _summary(modules[name], tensors[name], times[name]) for name in modules}


def _check(call: str, modules: Mapping[str, nn.Module], rounds: int, warmup: int, threads: int | None) -> None:
    if not modules:
        raise HostError(f"{call}: needs at least one module", fix="latency({'name': module}, (1, 3, 224, 224))")
    for option, value, least in (("rounds", rounds, 1), ("warmup", warmup, 0), ("threads", threads, 1)):
        if value is not None and value < least:
            raise HostError(f"{call}: {option} must be at least {least}", got=f"{option}={value}")


def _noise(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator(device).manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=dtype, device=device)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before if count is None else count)
        yield
    finally:
        torch.set_num_threads(before)


def _rounds(
    modules: Mapping[str, nn.Module], tensors: Mapping[str, tuple[Tensor, ...]], rounds: int, warmup: int
) -> dict[str, list[float]]:
    names = list(modules)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names * warmup:
        _timed(modules[name], tensors[name])
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(_timed(modules[name], tensors[name]))
    return times


def _timed(module: nn.Module, tensors: tuple[Tensor, ...]) -> float:
    """Milliseconds of one forward."""
    devices = {tensor.device for tensor in tensors if tensor.is_cuda}
    for device in devices:
        torch.cuda.synchronize(device)
    begin = perf_counter()
    module(*tensors)
    for device in devices:
        torch.cuda.synchronize(device)
    return (perf_counter() - begin) * 1e3


def _summary(module: nn.Module, tensors: tuple[Tensor, ...], times: list[float]) -> Latency:
    low, median, high = (float(ms) for ms in np.percentile(times, [25, 50, 75]))
    dtype, device = home(module)
    return Latency(
        median_ms=median,
        low_ms=low,
        high_ms=high,
        rounds=len(times),
        threads=torch.get_num_threads(),
        shapes=tuple(tuple(tensor.shape) for tensor in tensors),
        dtype=str(dtype).removeprefix("torch."),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        torch_version=torch.__version__,
    )
