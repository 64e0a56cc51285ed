"""How a module is run: in which mode, and on which of our backends."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from whatwhere.ops import backend, dispatch

__all__ = ["backends", "running"]


def backends() -> list[str]:
    """Those of our backends that run on this CPU, plain torch first."""
    able = [one for one in reversed(dispatch.table()) if not one.devices or "cpu" in one.devices]
    return [one.name for one in able if one.problem() is None]


@contextmanager
def running(module: nn.Module, training: bool, name: str | None = None) -> Iterator[None]:
    """Training mode, or evaluation without gradients; ``name`` is a backend, None for code that is not ours."""
    module.train(training)
    with nullcontext() if name is None else backend(name), torch.inference_mode(not training):
        yield
