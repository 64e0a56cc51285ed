"""BAM: the bottleneck attention module."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from whatwhere.errors import GateError
from whatwhere.gates.channel import ChannelBranch
from whatwhere.gates.gate import Factors, Gate
from whatwhere.gates.layers import initialise
from whatwhere.gates.options import count, one_of, resolve
from whatwhere.gates.released import BAM_KEYS, load_released
from whatwhere.gates.spatial import DilatedBranch
from whatwhere.ops import Reading

__all__ = ["BAM"]

_PAPER: Mapping[str, Any] = {
    "reduction": 16,
    "dilation": 4,
    "dilated_convs": 2,
    "branches": "both",
    "combine": "sum",
    "pools": ("avg",),
    "norm": "batch",
    "inner_norm": True,
    "inner_relu": True,
    "final_norm": "map",
    "mlp_bias": True,
    "spatial_dims": 2,
}


class BAM(Gate):
    """The bottleneck attention module: a channel branch and a dilated spatial branch, joined before one sigmoid.

        M(x) = sigmoid(M_c(x) + M_s(x))        out = x + x * M(x)

    Shape: x (B, C, *S) -> (B, C, *S); M (B, C, *S) in (0, 1).
    Cost, in two dimensions, with R = max(C // reduction, 1) and n dilated convolutions: 3 C R + 9 n R R + R weights
    besides biases and norms, (C R + 9 n R R + R) H W + 2 C R multiply-adds an image.

    Args:
        channels: C.
        preset: 'paper' is the equations, with the inner norms and ReLUs that the paper's parameter counts imply;
            'released' is the authors' code: product instead of sum, and no norm at the end of a branch.
        reduction: hidden channels are C // reduction, at least one. Paper: 16.
        dilation: of the 3x3 convolutions. Paper: 4. On maps no larger than it the outer taps see only padding.
        dilated_convs: how many of them. Paper: 2.
        branches: 'both', or 'channel' or 'spatial' alone (table 1b).
        combine: 'sum' (the paper), 'product' (the released code) or 'max' of the logits (table 1b).
        pools: of the channel branch: 'avg' (the paper), 'max', 'both', 'lp', 'lse', or a sequence of them.
        norm: 'batch', 'group' (one group: any batch size) or 'none', everywhere in the gate.
        inner_norm, inner_relu: after the inner layers; both False is the equation as printed.
        final_norm: 'map' normalises each branch's own output (C numbers, 1 map); 'channels' normalises C channels in
            both, which fits the most printed parameter counts; 'none' is the released code.
        mlp_bias: biases in the channel perceptron.
        spatial_dims, start, device, dtype: as in ``ChannelGate``.
    Raises:
        GateError: on an unknown or impossible option.
    Example:
        >>> BAM(32)(torch.zeros(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])

    Departs from the paper: the inner norms and ReLUs, which its equations leave out (inner_norm=False,
    inner_relu=False). Departs from the released code: the average is over the whole map, where that code's square
    window misses part of a map that is not square; fewer channels than ``reduction`` give one hidden unit, not none.
    References: Park et al. 2018. arXiv:1807.06514
    """

    place = "bottlenecks"
    presets: ClassVar = {"paper": _PAPER, "released": {**_PAPER, "combine": "product", "final_norm": "none"}}
    reduction: int
    dilation: int
    dilated_convs: int
    branches: str
    combine: str
    pools: tuple[str, ...]
    norm: str
    inner_norm: bool
    inner_relu: bool
    final_norm: str
    mlp_bias: bool

    def __init__(
        self,
        channels: int,
        *,
        preset: str = "paper",
        reduction: int | None = None,
        dilation: int | None = None,
        dilated_convs: int | None = None,
        branches: str | None = None,
        combine: str | None = None,
        pools: str | Sequence[str] | None = None,
        norm: str | None = None,
        inner_norm: bool | None = None,
        inner_relu: bool | None = None,
        final_norm: str | None = None,
        mlp_bias: bool | None = None,
        spatial_dims: int | None = None,
        start: str = "preset",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        given = dict(
            reduction=reduction, dilation=dilation, dilated_convs=dilated_convs, branches=branches, combine=combine,
            pools=pools, norm=norm, inner_norm=inner_norm, inner_relu=inner_relu, final_norm=final_norm,
            mlp_bias=mlp_bias, spatial_dims=spatial_dims,
        )  # fmt: skip
        options = resolve("BAM", channels, self.presets, preset, given, start)
        _refuse_impossible(channels, options, self.presets[preset])
        super().__init__(channels, preset, options)
        self._build({"device": device, "dtype": dtype})
        initialise(self)
        if start == "identity":
            self.start_at_identity_()

    def _build(self, where: dict[str, Any]) -> None:
        inner = self.norm if self.inner_norm else "none"
        final = "none" if self.final_norm == "none" else self.norm
        shared = dict(
            reduction=self.reduction, inner_norm=inner, inner_relu=self.inner_relu, final_norm=final, **where
        )  # fmt: skip
        self.channel = self.spatial = None
        if self.branches != "spatial":
            self.channel = ChannelBranch(self.channels, pools=len(self.pools), bias=self.mlp_bias, **shared)
        if self.branches != "channel":
            self.spatial = DilatedBranch(
                self.channels,
                spatial_dims=self.spatial_dims,
                dilation=self.dilation,
                dilated_convs=self.dilated_convs,
                final_channels=self.channels if self.final_norm == "channels" else 1,
                **shared,
            )

    def _factors(self, reading: Reading) -> Factors:
        channel = spatial = None
        if self.channel is not None:
            channel = self.channel(reading.pool_positions(self.pools))[(..., *[None] * self.spatial_dims)]
        if self.spatial is not None:
            spatial = self.spatial(reading.map)
        return Factors(channel, spatial, self.combine)

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors of one BAM from the released code's state dict, prefix cut off.

        Raises:
            GateError: unless keys and shapes are those of ``BAM(channels, preset="released")``; nothing is changed.
        """
        load_released(self, state, BAM_KEYS)


def _refuse_impossible(channels: int, options: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    one_of("BAM", channels, "branches", options["branches"], ("both", "channel", "spatial"))
    one_of("BAM", channels, "combine", options["combine"], ("sum", "product", "max"))
    one_of("BAM", channels, "final_norm", options["final_norm"], ("map", "channels", "none"))
    for option in ("inner_norm", "inner_relu", "mlp_bias"):
        one_of("BAM", channels, option, options[option], (True, False))
    count("BAM", channels, "dilated_convs", options["dilated_convs"], least=0)
    for option, branch in {
        "combine": "both", "pools": "channel", "mlp_bias": "channel", "dilation": "spatial", "dilated_convs": "spatial"
    }.items():  # fmt: skip
        if options[option] != usual[option] and options["branches"] not in ("both", branch):
            raise GateError(
                f"BAM({channels}, branches={options['branches']!r}, {option}={options[option]!r}): "
                f"{option} says nothing about the {options['branches']} branch alone",
                fix=f"leave {option} out, or use branches={branch!r}",
            )
    hidden = max(channels // options["reduction"], 1)
    if options["norm"] == "group" and options["inner_norm"] and options["branches"] != "spatial" and hidden == 1:
        raise GateError(
            f"BAM({channels}, norm='group', reduction={options['reduction']}): "
            "a group norm over one hidden unit is constant, and the gate would not see its input",
            got=f"{channels} channels // {options['reduction']}",
            fix=f"use reduction={max(channels // 2, 1)} or less, norm='batch', or inner_norm=False",
        )
