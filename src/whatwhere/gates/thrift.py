"""A norm and a ReLU whose result is computed again in backward instead of being kept."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from whatwhere.gates.layers import OneGroup
from whatwhere.ops import traced

__all__ = ["thrifty"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def thrifty(norm: nn.Module, relu: nn.Module, z: Tensor) -> tuple[Tensor, AbstractContextManager[Any]]:
    """``relu(norm(z))``, and a context for the layer that reads it.

    Autograd holds z for the norm in any case. Inside the context, and for the ReLU, it holds nothing more: what it
    would have kept is computed again from z when the backward asks. That costs the norm and the ReLU twice more.

    Modules it cannot repeat without side effects (hooks, a synchronised norm), and programs that torch traces, run as
    they are.

    Shape: z (B, C, *S) -> (B, C, *S).
    """
    again = _repeat(norm, relu, z)
    if again is None or not torch.is_grad_enabled() or traced(z):
        return relu(norm(z)), nullcontext()
    normed = norm(z)
    with saved_tensors_hooks(lambda _: again, _unpack):
        value = relu(normed)
    return value, saved_tensors_hooks(lambda saved: again if saved is value else saved, _unpack)


def _unpack(kept: Tensor | Callable[[], Tensor]) -> Tensor:
    return kept if isinstance(kept, Tensor) else kept()


def _repeat(norm: nn.Module, relu: nn.Module, z: Tensor) -> Callable[[], Tensor] | None:
    """What gives ``relu(norm(z))`` once more and changes no running statistics."""
    if norm._forward_hooks or norm._forward_pre_hooks or relu._forward_hooks or relu._forward_pre_hooks:
        return None
    if type(norm) is OneGroup:
        return lambda: relu(norm(z))
    if type(norm) not in _BATCH_NORMS:
        return None
    own: Any = norm
    batch = own.training or own.running_mean is None  # as it is now; the backward may find it in another mode
    mean, var = (None, None) if batch else (own.running_mean, own.running_var)
    return lambda: relu(F.batch_norm(z, mean, var, own.weight, own.bias, batch, 0.0, own.eps))
