"""Where to look: a number for every position."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from whatwhere.errors import GateError
from whatwhere.gates.gate import Factors, Gate
from whatwhere.gates.layers import conv, initialise, norm
from whatwhere.gates.options import count, one_of, resolve
from whatwhere.gates.thrift import norm_relu_conv
from whatwhere.ops import Reading

__all__ = ["DilatedBranch", "SpatialGate", "check_spatial"]


class SpatialGate(Gate):
    """CBAM's spatial gate, usable alone.

        M_s(x) = sigmoid(norm(conv_k([avg_C x; max_C x])))        out = M_s(x) * x

    Shape: x (B, C, *S) -> (B, C, *S); M_s (B, 1, *S) in (0, 1).
    Cost, in two dimensions: 2 k k weights and 2 k k H W multiply-adds with the pooled descriptor; C + k k weights and
    (C + k k) H W multiply-adds with the convolved one.

    Args:
        channels: C; it sizes only the convolved descriptor, and is checked in either case.
        kernel_size: odd width k. Paper: 7.
        descriptor: 'pool' (mean and maximum over channels) or 'conv' (a 1x1 convolution to one map, CBAM table 2).
        norm: after the convolution: 'none' (the paper; the convolution then has a bias), 'batch' or 'group'.
        preset: 'paper', or 'released': [max; avg] order, and a batch norm of momentum 0.01 that starts at weight zero,
            so that M_s is 0.5 everywhere until training moves it.
        spatial_dims, start, device, dtype: as in ``ChannelGate``.
    Raises:
        GateError: on an unknown or impossible option, an even kernel among them.
    Example:
        >>> SpatialGate(8)(torch.zeros(2, 8, 5, 7)).shape
        torch.Size([2, 8, 5, 7])

    Departs from the paper: nothing.
    References: Woo et al. 2018, eq. 3 and table 2. arXiv:1807.06521
    """

    presets: ClassVar = {
        "paper": {"kernel_size": 7, "descriptor": "pool", "norm": "none", "spatial_dims": 2},
        "released": {"kernel_size": 7, "descriptor": "pool", "norm": "batch", "spatial_dims": 2},
    }
    kernel_size: int
    descriptor: str
    norm: str

    def __init__(
        self,
        channels: int,
        *,
        preset: str = "paper",
        kernel_size: int | None = None,
        descriptor: str | None = None,
        norm: str | None = None,
        spatial_dims: int | None = None,
        start: str = "preset",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        given = {"kernel_size": kernel_size, "descriptor": descriptor, "norm": norm, "spatial_dims": spatial_dims}
        options = resolve(type(self).__name__, channels, self.presets, preset, given, start)
        super().__init__(channels, preset, options)
        check_spatial(type(self).__name__, channels, self.kernel_size, self.descriptor)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        pooled = self.descriptor == "pool"
        self.pools = ("max", "avg") if preset == "released" else ("avg", "max")
        self.squeeze = None if pooled else conv(self.spatial_dims, channels, 1, 1, **where)
        bias = self.norm == "none"
        self.conv = conv(self.spatial_dims, 2 if pooled else 1, 1, self.kernel_size, bias=bias, **where)
        self.norm_layer = _norm(self.norm, self.spatial_dims, preset, where)
        initialise(self)
        if preset == "released" and self.norm != "none":
            nn.init.zeros_(self.norm_layer.weight)  # type: ignore[arg-type]
        if start == "identity":
            self.start_at_identity_()

    def _factors(self, reading: Reading, channel: Tensor | None = None) -> Factors:
        if self.squeeze is None:
            described = reading.pool_channels(self.pools, channel)
        else:
            described = self.squeeze(reading.map if channel is None else reading.map * channel)
        return Factors(None, self.norm_layer(self.conv(described)).sigmoid(), "gates")


def _norm(kind: str, spatial_dims: int, preset: str, where: dict[str, Any]) -> nn.Module:
    return norm(kind, spatial_dims, 1, momentum=0.01 if preset == "released" else 0.1, **where)


def check_spatial(name: str, channels: int, kernel_size: int, descriptor: str) -> None:
    """Refuse what no spatial gate can be, in the name of the gate that was asked for."""
    one_of(name, channels, "descriptor", descriptor, ("pool", "conv"))
    count(name, channels, "kernel_size", kernel_size)
    if kernel_size % 2 == 0:
        raise GateError(
            f"{name}({channels}, kernel_size={kernel_size}): an even kernel cannot keep the size of the map",
            fix=f"use kernel_size={kernel_size - 1} or {kernel_size + 1}",
        )


_NOTHING = nn.Identity()


class DilatedBranch(nn.Module):
    """BAM's spatial logits: reduce the channels, look around with dilated convolutions, end in one map.

        logits(x) = norm(f1x1(f3x3(f3x3(f1x1(x)))))     with a norm and a ReLU after every inner convolution

    Shape: x (B, C, *S) -> (B, 1, *S), or (B, C, *S) when the final norm acts on C channels.
    Cost, in two dimensions, with R = max(C // reduction, 1): C R + 9 n R R + R weights for n dilated convolutions, and
    that many multiply-adds a position.
    References: Park et al. 2018, the spatial branch. arXiv:1807.06514
    """

    def __init__(
        self,
        channels: int,
        *,
        spatial_dims: int,
        reduction: int,
        dilation: int,
        dilated_convs: int,
        inner_norm: str,
        inner_relu: bool,
        final_norm: str,
        final_channels: int,
        **where: Any,
    ) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.normed, self.rectified = inner_norm != "none", inner_relu
        inner: list[nn.Module] = []
        for index in range(1 + dilated_convs):
            width, gap = (1, 1) if index == 0 else (3, dilation)
            inner.append(conv(spatial_dims, channels if index == 0 else hidden, hidden, width, gap, **where))
            if self.normed:
                inner.append(norm(inner_norm, spatial_dims, hidden, **where))
            if self.rectified:
                inner.append(nn.ReLU())
        self.inner = nn.Sequential(*inner)
        self.last = conv(spatial_dims, hidden, 1, 1, **where)
        # -1 keeps a size: only the single channel is expanded, where the norm wants more of them
        self.expansion = None if final_channels == 1 else (-1, final_channels, *[-1] * spatial_dims)
        self.final_norm = norm(final_norm, spatial_dims, final_channels, **where)

    def forward(self, x: Tensor) -> Tensor:
        first, *layers = (*self.inner, self.last)
        logits = first(x)
        while layers:
            norm = layers.pop(0) if self.normed else _NOTHING
            relu = layers.pop(0) if self.rectified else _NOTHING
            logits = norm_relu_conv(norm, relu, layers.pop(0), logits)
        if self.expansion is not None:
            logits = logits.expand(self.expansion)
        return self.final_norm(logits)  # type: ignore[no-any-return]
