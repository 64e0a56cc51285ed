"""The layers gates are built from, for one, two or three spatial dimensions, and how they start."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

__all__ = ["OneGroup", "conv", "initialise", "norm"]

_CONVS: Mapping[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def conv(
    spatial_dims: int, inputs: int, outputs: int, width: int, dilation: int = 1, bias: bool = True, **where: Any
) -> nn.Module:
    """A convolution of odd ``width`` that keeps the size of the map."""
    padding = dilation * (width // 2)
    return _CONVS[spatial_dims](inputs, outputs, width, padding=padding, dilation=dilation, bias=bias, **where)


class OneGroup(nn.GroupNorm):
    """Takes a single value too, which normalises to zero; torch's own refuses it, and with it a 1x1 map."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def norm(kind: str, spatial_dims: int, channels: int, momentum: float = 0.1, **where: Any) -> nn.Module:
    """A norm over ``channels``: ``batch``, ``group`` (one group: the whole of one image) or ``none``.

    ``spatial_dims`` 0 is for vectors (B, C).
    """
    if kind == "batch":
        return _BATCH_NORMS[spatial_dims](channels, momentum=momentum, **where)
    if kind == "group":
        return OneGroup(1, channels, **where)
    return nn.Identity()


def initialise(gate: nn.Module) -> None:
    """Start as the released networks do: convolutions kaiming normal by fan-out, linears as torch, biases zero."""
    for module in gate.modules():
        if isinstance(module, _ConvNd):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if isinstance(module, _ConvNd | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
