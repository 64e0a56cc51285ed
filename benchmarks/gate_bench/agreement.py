"""Do two gates compute the same? The same weights in both, then outputs and gradients side by side."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from math import inf

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gate_bench.ways import running

__all__ = ["TOLERANCE", "Results", "difference", "evaluate", "far", "finite", "randomise", "relative", "share"]

# The greatest |a - b| / |b| (Euclidean norms) that counts as the same: of outputs, and of gradients. In bfloat16 b is
# computed in float32, and rounding a map before its maxima are taken moves some of them and their gradients elsewhere.
TOLERANCE = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (2e-2, 2e-1)}


@dataclass(frozen=True)
class Results:
    """What a module makes of one input: in evaluation, in training, and the input's gradient."""

    evaluated: Tensor
    trained: Tensor
    gradient: Tensor


@torch.no_grad()
def randomise(module: nn.Module) -> None:
    """Biases and batch norms as training leaves them: not the zeros and ones that would hide a forgotten one."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.weight.uniform_(0.5, 1.5)
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
        if isinstance(getattr(part, "bias", None), Tensor):
            part.bias.normal_(0, 0.1)


@torch.no_grad()
def share(ours: nn.Module, theirs: nn.Module, flipped: bool = False) -> None:
    """Give ``theirs`` the weights of ``ours``, layer by layer in the order of their making.

    A bias that only one of the two has becomes zero.

    Raises:
        ValueError: layers that do not pair off.
    """
    for mine, other in zip_longest(_layers(ours), _layers(theirs)):
        if mine is None or other is None or isinstance(mine, _BatchNorm) != isinstance(other, _BatchNorm):
            raise ValueError(f"no pair: {mine} and {other}")
        _copy(mine, other, flipped and mine.weight.dim() == 4 and mine.weight.shape[1] == 2)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    return (part for part in module.modules() if next(part.parameters(recurse=False), None) is not None)


def _copy(mine: nn.Module, other: nn.Module, flip: bool) -> None:
    values = mine.state_dict()
    for name, tensor in other.state_dict().items():
        if name == "bias" and name not in values:
            tensor.zero_()
        elif name not in values or values[name].numel() != tensor.numel():
            raise ValueError(f"no pair: {name} of {mine} and {other}")
        else:
            value = values[name].flip(1) if flip and name == "weight" else values[name]
            tensor.copy_(value.reshape(tensor.shape))
    if mine.bias is not None and other.bias is None:
        mine.bias.zero_()


def evaluate(module: nn.Module, x: Tensor, backend: str | None) -> Results:
    """Run ``module`` in both modes, and backward from a fixed gradient; dropout is drawn alike, its state put back."""
    leaf = x.clone().requires_grad_()
    with _kept_state(module):
        with running(module, False, backend):
            evaluated = module(x)
        with running(module, True, backend):
            torch.manual_seed(0)
            trained = module(leaf)
            towards = torch.randn(trained.shape, generator=torch.Generator().manual_seed(1)).to(trained)
            (gradient,) = torch.autograd.grad(trained, leaf, towards)
    return Results(evaluated, trained.detach(), gradient)


@contextmanager
def _kept_state(module: nn.Module) -> Iterator[None]:
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    yield
    module.load_state_dict(state)


def difference(found: Results, wanted: Results) -> tuple[float, float]:
    """The larger relative difference of the two outputs, and that of the gradients."""
    outputs = (relative(found.evaluated, wanted.evaluated), relative(found.trained, wanted.trained))
    return max(outputs), relative(found.gradient, wanted.gradient)


def relative(found: Tensor, wanted: Tensor) -> float:
    """|found - wanted| / |wanted|; infinity where something is NaN."""
    gap = float((found.double() - wanted.double()).norm() / wanted.double().norm())
    return gap if gap == gap else inf


def finite(error: float) -> float | None:
    """The difference as a file can hold it."""
    return error if error < inf else None


def far(errors: tuple[float, float], allowed: tuple[float, float]) -> str | None:
    """Why gates with these differences do not count as the same; None when they do."""
    words = zip(("outputs", "gradients"), errors, allowed, strict=True)
    odd = [f"{name} differ by {error:.1e}, {most:.0e} is allowed" for name, error, most in words if error > most]
    return "; ".join(odd) or None
