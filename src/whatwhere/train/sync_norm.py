"""Batch norms whose statistics span all processes, on devices that torch's own do not take."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from whatwhere.errors import RunError
from whatwhere.train.ranks import Ranks

__all__ = ["SyncNorm", "synchronised"]

_KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Normalise(torch.autograd.Function):
    """Normalises by the mean and variance over all processes' batches; two exchanges forward, one backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes, wide = [0, *range(2, x.ndim)], x.float()
        count = x.numel() // x.shape[1]
        total = torch.cat([wide.sum(axes), torch.full((1,), float(count), device=x.device)])
        dist.all_reduce(total)
        everything = total[-1]
        mean = total[:-1] / everything
        # the squares are summed about the common mean: sums about zero would cancel
        variance = (wide - _along(mean, x)).square().sum(axes)
        dist.all_reduce(variance)
        variance = variance / everything
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), everything)
        ctx.mark_non_differentiable(mean, variance, everything)
        y = functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        return y, mean, variance, everything

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, inverse, everything = ctx.saved_tensors
        axes = [0, *range(2, x.ndim)]
        normal, wide = (x.float() - _along(mean, x)) * _along(inverse, x), dy.float()
        own = torch.stack([wide.sum(axes), (wide * normal).sum(axes)])
        common = own.clone()
        dist.all_reduce(common)
        first, second = common / everything
        dx = (wide - _along(first, x) - normal * _along(second, x)) * _along(inverse, x)
        if weight is None:
            return dx.to(x.dtype), None, None, None
        # a weight's gradient is of this process's images: the processes' gradients are averaged later, like all others
        return (dx * _along(weight.float(), x)).to(x.dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None


def _along(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))


class SyncNorm(_BatchNorm):
    """A batch norm over the batches of all processes together, each (B, C) or (B, C, ...), of any device.

    Sums are float32 whatever the input. Processes may have different numbers of images. Running statistics are those
    that torch's batch norm would have of the whole batch. In eval mode it is torch's.

    Args:
        norm: whose weights and buffers, the same tensors, it takes over.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        nn.Module.__init__(self)
        self.num_features, self.eps, self.momentum = norm.num_features, norm.eps, norm.momentum
        self.affine, self.track_running_stats = norm.affine, norm.track_running_stats
        self._parameters, self._buffers, self.training = norm._parameters, norm._buffers, norm.training

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """The normalised ``x``, in its dtype."""
        if not self.training:
            result: Tensor = super().forward(x)
            return result
        y, mean, variance, everything = _Normalise.apply(x, self.weight, self.bias, self.eps)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (everything / (everything - 1)), share)
        out: Tensor = y
        return out


@contextmanager
def synchronised(model: nn.Module, ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Swaps the batch norms of ``model`` for synchronised ones inside the block, torch's own on a CUDA device.

    Names in state dicts and the tensors themselves stay the same; afterwards the modules that were there are back.
    With one process nothing is done.

    Raises:
        RunError: a batch norm is of a kind of its own, such as one that an activation is built into.
    """
    swapped: list[tuple[dict[str, Any], str, _BatchNorm]] = []
    if ranks.world > 1:
        for parent in model.modules():
            for name, child in parent._modules.items():
                if isinstance(child, _BatchNorm) and type(child) in _KNOWN:
                    swapped.append((parent._modules, name, child))
                elif isinstance(child, _BatchNorm):
                    raise RunError(
                        f"train(Recipe(sync_norm=True)): '{name}' is a {type(child).__name__}, which cannot be shared",
                        fix="sync_norm=False, or a network with torch's own batch norms",
                    )
    try:
        for children, name, norm in swapped:
            children[name] = _torchs(norm) if device.type == "cuda" else SyncNorm(norm)
        yield
    finally:
        for children, name, norm in swapped:
            norm.train(children[name].training)
            children[name] = norm


def _torchs(norm: _BatchNorm) -> nn.Module:
    result: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
    return result
