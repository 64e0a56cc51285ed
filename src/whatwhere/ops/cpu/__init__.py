"""Kernels in C++ for the CPU: they implement the operators ``whatwhere::*``, once they are built (``build.py``)."""

import functools
from pathlib import Path

import torch

from whatwhere.errors import KernelError
from whatwhere.ops.cpu import cache, target

__all__ = ["built", "load", "problem"]

_loaded = False


def built() -> Path | None:
    """The library for this torch and this CPU, or None where there is none or what there is is damaged."""
    path = cache.place()
    return path if cache.fault(path) is None else None


def problem() -> str | None:
    """Why the kernels cannot be used, in one line; None where they can, and then they are loaded.

    Cost: microseconds, but for the first time with a library, when it is read, checked and loaded.
    """
    global _loaded
    if _loaded:
        return None
    if (reason := target.unsupported()) is not None:
        return reason
    try:
        path = cache.place()
    except KernelError as error:
        return f"{error.rule}; {error.fix}"
    try:
        written = path.stat().st_mtime_ns
    except OSError:
        return _absent(path)
    reason = _failure(path, written)
    _loaded = reason is None
    return reason


def load() -> None:
    """Have the operators run these kernels for tensors on the CPU.

    Raises:
        KernelError: they cannot be used.
    """
    if (reason := problem()) is not None:
        raise KernelError("load(): the CPU kernels cannot be used", got=reason, fix="`whatwhere kernels` builds them")


@functools.cache
def _absent(path: Path) -> str:
    reason = f"not built for {target.words()}"
    if others := cache.others():
        reason += f"; the cache has {others} for another torch, another CPU or other sources"
    return reason


@functools.cache
def _failure(path: Path, written: int) -> str | None:
    """Load the library as it was ``written``; why that failed, or None. To map half a file could end the process."""
    if (reason := cache.fault(path)) is not None:
        return reason
    try:
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except OSError as error:
        return f"the system does not load the library: {error.__cause__ or error}"
    return None
