"""Norms of a detector's trunk, whose batches hold too few images for statistics of their own."""

from collections.abc import Iterable
from math import gcd

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

__all__ = ["batch_norms", "freeze_norms_", "group_norms_"]


def batch_norms(model: nn.Module, beginnings: Iterable[str] = ("",)) -> list[tuple[str, nn.BatchNorm2d]]:
    """The batch norms whose names begin so."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and name.startswith(tuple(beginnings))
    ]


def freeze_norms_(model: nn.Module, beginnings: Iterable[str]) -> None:
    """Replaces, in place, batch norms whose names begin so by the affine function that they are in eval mode."""
    for name, norm in batch_norms(model, beginnings):
        frozen = FrozenBatchNorm2d(norm.num_features, norm.eps)
        frozen.load_state_dict(norm.state_dict())
        model.set_submodule(name, frozen)


def group_norms_(model: nn.Module) -> None:
    """Replaces, in place, all batch norms by fresh group norms of 32 groups, or of as many as divide both."""
    for name, norm in batch_norms(model):
        model.set_submodule(name, nn.GroupNorm(gcd(32, norm.num_features), norm.num_features))
