"""CBAM: the convolutional block attention module."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from whatwhere.errors import GateError
from whatwhere.gates.channel import ChannelGate
from whatwhere.gates.gate import Factors, Gate
from whatwhere.gates.options import one_of, resolve
from whatwhere.gates.released import CBAM_KEYS, load_released
from whatwhere.gates.spatial import SpatialGate, check_spatial
from whatwhere.ops import Reading

__all__ = ["CBAM"]

_PAPER: Mapping[str, Any] = {
    "reduction": 16,
    "pools": ("avg", "max"),
    "mlp_bias": False,
    "branches": "both",
    "order": "channel_first",
    "descriptor": "pool",
    "kernel_size": 7,
    "norm": "none",
    "spatial_dims": 2,
}


class CBAM(Gate):
    """The convolutional block attention module: a channel gate, then a spatial gate on what it lets through.

        F' = M_c(F) * F        F'' = M_s(F') * F'

    Shape: x (B, C, *S) -> (B, C, *S); M_c (B, C, 1, ...), M_s (B, 1, *S), both in (0, 1).
    Cost: that of ``ChannelGate`` and ``SpatialGate`` together.

    Args:
        channels: C.
        preset: 'paper' is the equations: no biases in the perceptron, no norm in the spatial gate; 'released' is the
            authors' code: both biases, [max; avg] order, and a batch norm that starts at weight zero.
        reduction, pools, mlp_bias: as in ``ChannelGate``. The paper's parameter counts need mlp_bias=True.
        branches: 'both', or 'channel' or 'spatial' alone.
        order: 'channel_first' (the paper), 'spatial_first', or 'parallel': both gates read the input and the factors
            are multiplied (table 3).
        descriptor, kernel_size, norm: as in ``SpatialGate``.
        spatial_dims, start, device, dtype: as in ``ChannelGate``.
    Raises:
        GateError: on an unknown or impossible option.
    Example:
        >>> CBAM(32)(torch.zeros(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])

    Departs from the paper: the paper does not say how 'parallel' joins its factors; here they are multiplied. With
    fewer channels than ``reduction`` there is one hidden unit, where the released code has none.
    References: Woo et al. 2018, eqs. 1-3. arXiv:1807.06521
    """

    presets: ClassVar = {"paper": _PAPER, "released": {**_PAPER, "mlp_bias": True, "norm": "batch"}}
    reduction: int
    pools: tuple[str, ...]
    mlp_bias: bool
    branches: str
    order: str
    descriptor: str
    kernel_size: int
    norm: str

    def __init__(
        self,
        channels: int,
        *,
        preset: str = "paper",
        reduction: int | None = None,
        pools: str | Sequence[str] | None = None,
        mlp_bias: bool | None = None,
        branches: str | None = None,
        order: str | None = None,
        descriptor: str | None = None,
        kernel_size: int | None = None,
        norm: str | None = None,
        spatial_dims: int | None = None,
        start: str = "preset",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        given = dict(
            reduction=reduction, pools=pools, mlp_bias=mlp_bias, branches=branches, order=order,
            descriptor=descriptor, kernel_size=kernel_size, norm=norm, spatial_dims=spatial_dims,
        )  # fmt: skip
        options = resolve("CBAM", channels, self.presets, preset, given, start)
        _refuse_impossible(channels, options, self.presets[preset])
        super().__init__(channels, preset, options)
        self._build({"spatial_dims": self.spatial_dims, "device": device, "dtype": dtype})
        if start == "identity":
            self.start_at_identity_()

    def _build(self, where: dict[str, Any]) -> None:
        self.channel = self.spatial = None
        if self.branches != "spatial":
            self.channel = ChannelGate(
                self.channels, reduction=self.reduction, pools=self.pools, mlp_bias=self.mlp_bias, **where
            )
        if self.branches != "channel":
            self.spatial = SpatialGate(
                self.channels,
                preset=self.preset,
                kernel_size=self.kernel_size,
                descriptor=self.descriptor,
                norm=self.norm,
                **where,
            )

    def _factors(self, reading: Reading) -> Factors:
        if self.spatial is None or self.channel is None:
            return (self.spatial or self.channel)._factors(reading)  # type: ignore[union-attr]
        if self.order == "spatial_first":
            spatial = self.spatial._factors(reading).spatial
            channel = self.channel._factors(reading, spatial).channel
        else:
            channel = self.channel._factors(reading).channel
            spatial = self.spatial._factors(reading, None if self.order == "parallel" else channel).spatial
        return Factors(channel, spatial, "gates")

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors of one CBAM from the released code's state dict, prefix cut off.

        Raises:
            GateError: unless keys and shapes are those of ``CBAM(channels, preset="released")``; nothing is changed.
        """
        load_released(self, state, CBAM_KEYS)


def _refuse_impossible(channels: int, options: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    one_of("CBAM", channels, "branches", options["branches"], ("both", "channel", "spatial"))
    one_of("CBAM", channels, "order", options["order"], ("channel_first", "spatial_first", "parallel"))
    one_of("CBAM", channels, "mlp_bias", options["mlp_bias"], (True, False))
    check_spatial("CBAM", channels, options["kernel_size"], options["descriptor"])
    for option, branch in {
        "order": "both", "reduction": "channel", "pools": "channel", "mlp_bias": "channel",
        "descriptor": "spatial", "kernel_size": "spatial", "norm": "spatial",
    }.items():  # fmt: skip
        if options[option] != usual[option] and options["branches"] not in ("both", branch):
            raise GateError(
                f"CBAM({channels}, branches={options['branches']!r}, {option}={options[option]!r}): "
                f"{option} says nothing about the {options['branches']} branch alone",
                fix=f"leave {option} out, or use branches={branch!r}",
            )
