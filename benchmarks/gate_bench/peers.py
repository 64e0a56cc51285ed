"""Gates of other libraries, and which of ours computes the same formula."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

import whatwhere as ww

__all__ = ["OURS", "PEERS", "REDUCTION", "RIVALS", "Peer", "found", "missing"]

REDUCTION = 16

OURS: dict[str, Callable[[int, str], nn.Module]] = {
    "cbam": lambda channels, form: ww.CBAM(channels, preset=form),
    "bam": lambda channels, form: ww.BAM(channels, preset=form),
    "se": lambda channels, form: ww.SE(channels),
}


@dataclass(frozen=True)
class Peer:
    """A gate of another library.

    Attributes:
        library: as the package registry calls it.
        gate: "cbam", "bam" or "se".
        form: the preset of our gate that computes the same formula.
        where: its class, imported when it is built.
        make: an instance of that class for so many channels, with reduction 16.
        flipped: its spatial convolution reads mean and maximum in the other order than ours does.
    """

    library: str
    gate: str
    form: str
    where: str
    make: Callable[[Any, int], nn.Module]
    flipped: bool = False

    def build(self, channels: int) -> nn.Module:
        """The gate for a map of so many channels."""
        module, _, name = self.where.rpartition(".")
        return self.make(getattr(import_module(module), name), channels)


class _WithoutResidual(nn.Module):
    """channel-attention's CBAM adds its input to its output unless told not to."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x, with_residual=False)  # type: ignore[no-any-return]


def _example(channels: int) -> Tensor:
    """batchflow reads the channels off a map."""
    return torch.zeros(2, channels, 8, 8)


_BATCHFLOW = "batchflow.models.torch.blocks.attention"
_PYTORCHCV = "pytorchcv.models"
PEERS = (
    Peer("timm", "cbam", "released", "timm.layers.cbam.CbamModule",
         lambda gate, c: gate(c, rd_channels=c // REDUCTION), flipped=True),
    Peer("pytorchcv", "cbam", "released", f"{_PYTORCHCV}.cbamresnet.CbamBlock",
         lambda gate, c: gate(c, reduction_ratio=REDUCTION)),
    Peer("batchflow", "cbam", "released", f"{_BATCHFLOW}.CBAM",
         lambda gate, c: gate(inputs=_example(c), ratio=REDUCTION), flipped=True),
    Peer("channel-attention", "cbam", "paper", "channel_attention.ConvBlockAttention",
         lambda gate, c: _WithoutResidual(gate(n_dims=2, n_channels=c, reduction=REDUCTION)), flipped=True),
    Peer("pytorchcv", "bam", "released", f"{_PYTORCHCV}.bamresnet.BamBlock", lambda gate, c: gate(c)),
    Peer("batchflow", "bam", "paper", f"{_BATCHFLOW}.BAM",
         lambda gate, c: gate(inputs=_example(c), ratio=REDUCTION)),
    Peer("timm", "se", "paper", "timm.layers.SEModule", lambda gate, c: gate(c, rd_channels=c // REDUCTION)),
    Peer("torchvision", "se", "paper", "torchvision.ops.SqueezeExcitation", lambda gate, c: gate(c, c // REDUCTION)),
    Peer("pytorchcv", "se", "paper", f"{_PYTORCHCV}.common.att.SEBlock",
         lambda gate, c: gate(c, reduction=REDUCTION)),
    Peer("batchflow", "se", "paper", f"{_BATCHFLOW}.SEBlock",
         lambda gate, c: gate(inputs=_example(c), ratio=REDUCTION, bias=True)),
    Peer("channel-attention", "se", "paper", "channel_attention.SEAttention",
         lambda gate, c: gate(n_dims=2, n_channels=c, reduction=REDUCTION, bias=True)),
    Peer("monai", "se", "paper", "monai.networks.blocks.squeeze_and_excitation.ChannelSELayer",
         lambda gate, c: gate(2, c, r=REDUCTION)),
)  # fmt: skip


# Those that are compiled and put into networks too: usually the fastest that have the gate.
RIVALS = {"cbam": "timm", "bam": "pytorchcv", "se": "timm"}


def found() -> dict[str, str]:
    """The libraries that are installed, and their versions."""
    versions = {library: _version(library) for library in dict.fromkeys(peer.library for peer in PEERS)}
    return {library: number for library, number in versions.items() if number is not None}


def missing() -> list[str]:
    """The libraries that are not."""
    return sorted({peer.library for peer in PEERS} - set(found()))


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
