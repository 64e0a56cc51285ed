"""A norm, a ReLU and the convolution that reads them, of which backward keeps the norm's input and nothing else."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from whatwhere.gates.layers import OneGroup
from whatwhere.ops import traced

__all__ = ["norm_relu_conv"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def norm_relu_conv(norm: nn.Module, relu: nn.Module, conv: nn.Module, z: Tensor) -> Tensor:
    """``conv(relu(norm(z)))``, of which backward keeps z and computes norm and ReLU again.

    Torch would keep what the convolution reads as well. Modules of other kinds, with hooks or with a forward of their
    own, and programs that torch traces, run as they are and keep what they keep.

    Shape: z (B, R, *S) -> (B, outputs, *S).
    Cost: the norm and the ReLU once more in backward.
    """
    if not torch.is_grad_enabled() or traced(z) or not _known(norm, relu, conv):
        return conv(relu(norm(z)))  # type: ignore[no-any-return]
    own: Any = norm
    reader: Any = conv
    running = (None, None)
    if type(norm) in _BATCH_NORMS and not own.training and own.running_mean is not None:
        running = own.running_mean, own.running_var
    tensors = (z, own.weight, own.bias, reader.weight, reader.bias)
    return _NormReluConv.apply(*tensors, running, norm, relu, conv)  # type: ignore[no-any-return]


def _known(norm: nn.Module, relu: nn.Module, conv: nn.Module) -> bool:
    kinds = type(norm) in (*_BATCH_NORMS, OneGroup), type(relu) in (nn.ReLU, nn.Identity), type(conv) in _CONVS
    plain = all(
        "forward" not in vars(module) and not any(getattr(module, hooks) for hooks in _HOOKS)
        for module in (norm, relu, conv)
    )
    return all(kinds) and plain and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


class _NormReluConv(Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        gain: Tensor | None,
        shift: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        running: tuple[Tensor | None, Tensor | None],
        norm: Any,
        relu: nn.Module,
        conv: Any,
    ) -> Tensor:
        ctx.save_for_backward(z, gain, shift, weight, bias, *running)
        groups = norm.num_groups if isinstance(norm, OneGroup) else None
        ctx.normalise = groups, norm.eps, isinstance(relu, nn.ReLU)
        ctx.convolve = conv.stride, conv.padding, conv.dilation, conv.groups
        return conv(relu(norm(z)))  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, gain, shift, weight, bias, mean, var = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.convolve
        # under other names: torch must not walk on into what z was computed from
        inputs = [None if tensor is None else tensor.view_as(tensor) for tensor in (z, gain, shift)]
        if not torch.is_grad_enabled():
            inputs = [
                t if t is None else t.requires_grad_(n) for t, n in zip(inputs, ctx.needs_input_grad, strict=False)
            ]
        with torch.enable_grad():
            value = _normalised((*inputs, mean, var), *ctx.normalise)
        sizes = None if bias is None else bias.shape
        mask = (value.requires_grad, *ctx.needs_input_grad[3:5])
        kind = gradient.dtype  # autocast's, if there was one
        by_value, by_weight, by_bias = torch.ops.aten.convolution_backward(
            gradient, value.to(kind), weight.to(kind), sizes, stride, padding, dilation, False, (0,) * len(stride),
            groups, mask,
        )  # fmt: skip
        found: list[Tensor | None] = [None, None, None]
        wanted = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
        if wanted:
            again = torch.is_grad_enabled()
            made = iter(torch.autograd.grad(value, wanted, by_value.to(value.dtype), create_graph=again))
            found = [next(made) if tensor is not None and tensor.requires_grad else None for tensor in inputs]
        by_weight = None if by_weight is None else by_weight.to(weight.dtype)
        by_bias = None if by_bias is None else by_bias.to(bias.dtype)
        return *found, by_weight, by_bias, None, None, None, None


def _normalised(tensors: Sequence[Any], groups: int | None, eps: float, rectified: bool) -> Tensor:
    """What the convolution read; no running statistic is changed."""
    z, gain, shift, mean, var = tensors
    if groups is None:
        value = F.batch_norm(z, mean, var, gain, shift, mean is None, 0.0, eps)
    else:
        value = torch.group_norm(z, groups, gain, shift, eps)
    return value.relu() if rectified else value
