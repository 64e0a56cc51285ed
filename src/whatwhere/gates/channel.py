"""What to look at: a number for every channel."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from whatwhere.gates.gate import Factors, Gate
from whatwhere.gates.layers import initialise, norm
from whatwhere.gates.options import resolve
from whatwhere.ops import Reading

__all__ = ["SE", "ChannelBranch", "ChannelGate"]


class ChannelBranch(nn.Module):
    """Channel logits: one two-layer perceptron, shared by all pools, whose outputs are summed.

        logits = norm(sum_p W1 relu(norm(W0 pooled_p + b0)) + b1)

    The norms are off unless asked for. Pools go through the perceptron as one batch, so its inner norm sees them all.

    Shape: pooled (P, B, C), one row for each of ``pools`` -> (B, C). Hidden units: C // reduction, at least one.
    Cost: 2 C (C // reduction) weights and, for each pool, as many multiply-adds an image.
    References: Woo et al. 2018, eq. 2 (arXiv:1807.06521); Park et al. 2018, the channel branch (arXiv:1807.06514).
    """

    def __init__(
        self,
        channels: int,
        *,
        pools: int,
        reduction: int = 16,
        bias: bool = True,
        inner_norm: str = "none",
        inner_relu: bool = True,
        final_norm: str = "none",
        **where: Any,
    ) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.pools = pools
        self.reduce = nn.Linear(channels, hidden, bias=bias, **where)
        self.inner_norm = norm(inner_norm, 0, hidden, **where)
        self.relu = nn.ReLU() if inner_relu else nn.Identity()
        self.expand = nn.Linear(hidden, channels, bias=bias, **where)
        self.final_norm = norm(final_norm, 0, channels, **where)

    def forward(self, pooled: Tensor) -> Tensor:
        hidden = self.relu(self.inner_norm(self.reduce(pooled.flatten(0, 1))))
        logits = self.expand(hidden)
        if self.pools > 1:
            logits = logits.unflatten(0, (self.pools, -1)).sum(0)
        return self.final_norm(logits)  # type: ignore[no-any-return]


class ChannelGate(Gate):
    """CBAM's channel gate, usable alone.

        M_c(x) = sigmoid(sum_p W1 relu(W0 pool_p(x)))        out = M_c(x) * x

    Shape: x (B, C, *S) -> (B, C, *S); M_c (B, C, 1, ...) in (0, 1).
    Cost: 2 C (C // reduction) weights, plus C + C // reduction biases; that many multiply-adds for each pool.

    Args:
        channels: C.
        reduction: hidden units are C // reduction, at least one. Paper: 16.
        pools: 'avg', 'max', 'both' (the paper's), 'lp', 'lse', or a sequence of them.
        mlp_bias: biases in the perceptron: none in the paper's equation, two in the released code and the default here.
        spatial_dims: 1, 2 or 3.
        start: 'preset', or 'identity' to leave x as it is until training moves ``strength``.
        device, dtype: of the parameters.
    Raises:
        GateError: on an unknown or impossible option.
    Example:
        >>> ChannelGate(32)(torch.zeros(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])

    Departs from the paper: with fewer channels than ``reduction`` there is one hidden unit; the released code has none.
    References: Woo et al. 2018, eq. 2. arXiv:1807.06521
    """

    presets: ClassVar = {"paper": {"reduction": 16, "pools": ("avg", "max"), "mlp_bias": True, "spatial_dims": 2}}
    reduction: int
    pools: tuple[str, ...]
    mlp_bias: bool

    def __init__(
        self,
        channels: int,
        *,
        reduction: int | None = None,
        pools: str | Sequence[str] | None = None,
        mlp_bias: bool | None = None,
        spatial_dims: int | None = None,
        start: str = "preset",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        given = {"reduction": reduction, "pools": pools, "mlp_bias": mlp_bias, "spatial_dims": spatial_dims}
        options = resolve(type(self).__name__, channels, self.presets, "paper", given, start)
        super().__init__(channels, "paper", options)
        self.branch = ChannelBranch(
            channels, pools=len(self.pools), reduction=self.reduction, bias=self.mlp_bias, device=device, dtype=dtype
        )
        initialise(self)
        if start == "identity":
            self.start_at_identity_()

    def _factors(self, reading: Reading, spatial: Tensor | None = None) -> Factors:
        pooled = reading.pool_positions(self.pools, spatial)
        return Factors(self.branch(pooled).sigmoid()[(..., *[None] * self.spatial_dims)], None, "gates")


class SE(ChannelGate):
    """Squeeze-and-excitation, the yardstick: a channel gate that pools by the average alone.

        M_c(x) = sigmoid(W1 relu(W0 avgpool(x) + b0) + b1)        out = M_c(x) * x

    Shape: x (B, C, *S) -> (B, C, *S); M_c (B, C, 1, ...) in (0, 1).
    Cost: 2 C (C // reduction) weights plus C + C // reduction biases; as many multiply-adds an image as weights.

    Args:
        channels, reduction, mlp_bias, spatial_dims, start, device, dtype: as in ``ChannelGate``.
    Raises:
        GateError: on an unknown or impossible option.
    Example:
        >>> SE(32)(torch.zeros(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])

    Departs from the paper: its equation has no biases; the parameter counts that CBAM's tables print for SE have.
    References: Hu et al. 2018, eqs. 2-4. arXiv:1709.01507
    """

    presets: ClassVar = {"paper": {"reduction": 16, "mlp_bias": True, "spatial_dims": 2}}
    pools = ("avg",)

    def __init__(
        self,
        channels: int,
        *,
        reduction: int | None = None,
        mlp_bias: bool | None = None,
        spatial_dims: int | None = None,
        start: str = "preset",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            channels, reduction=reduction, mlp_bias=mlp_bias, spatial_dims=spatial_dims,
            start=start, device=device, dtype=dtype,
        )  # fmt: skip
