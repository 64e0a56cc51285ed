"""StairNet: an SSD whose coarse maps, which know what is there, are added down to the fine ones."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["StairTrunk", "TopDown"]


class TopDown(nn.Module):
    """Brings maps to one width, adds each to the next finer one, and smooths the sums.

    Args:
        channels: of the maps, the finest first.
        width: that all of them get.
        kernel_size: of the convolution that smooths each sum.
        strides: of the layers that made each map from the one before; each is undone by a transposed convolution of
            that stride. None: maps are enlarged bilinearly, without parameters.

    Source: Woo, Hwang and Kweon, StairNet: Top-Down Semantic Aggregation for Accurate One Shot Detection, WACV 2018:
    feature combining modules from the coarsest scale down, and one prediction module of one width at every scale.
    An implementation by one of its authors has what ``strides`` gives here: 1x1 convolutions to 256 channels,
    transposed 3x3 convolutions, sums, 3x3 convolutions, a norm behind each and a ReLU behind the last, and six
    anchors at the four finest scales; on VGG-16 that is 32.0 M parameters, as the BAM and CBAM papers print. There
    the layer of stride 1 next to the coarsest is undone with stride 2, which fits images of 300 pixels alone. No
    source describes it on MobileNet: 128 channels, bilinear enlarging and 1x1 convolutions are inferred from the
    papers' 5.98 M.
    """

    def __init__(self, channels: Sequence[int], width: int, kernel_size: int, strides: Sequence[int] | None) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_normed(nn.Conv2d(before, width, 1, bias=False)) for before in channels)
        self.up = nn.ModuleList(_Undo(width, stride) for stride in strides) if strides else None
        self.smooth = nn.ModuleList(
            nn.Sequential(
                *_normed(nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, bias=False)),
                nn.ReLU(inplace=True),
            )
            for _ in channels
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """``(B, C, H, W)`` of each scale ``-> (B, width, H, W)``, the finest first."""
        sums = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for finer in reversed(range(len(sums) - 1)):
            sums[finer] = sums[finer] + self._enlarged(sums[finer + 1], finer, sums[finer].shape[-2:])
        return [smooth(x) for smooth, x in zip(self.smooth, sums, strict=True)]

    def _enlarged(self, x: Tensor, finer: int, size: Sequence[int]) -> Tensor:
        if self.up is None:
            return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)
        enlarged: Tensor = self.up[finer](x, list(size))
        return enlarged


class StairTrunk(nn.Module):
    """A trunk and what spreads its maps from the coarsest down."""

    def __init__(self, trunk: nn.Module, topdown: TopDown) -> None:
        super().__init__()
        self.trunk = trunk
        self.topdown = topdown

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``(B, 3, H, W)`` to the maps by their number, the finest first."""
        maps = self.trunk(x)
        return dict(zip(maps, self.topdown(list(maps.values())), strict=True))


class _Undo(nn.Module):
    """A transposed 3x3 convolution and a norm; of stride 1 it gives back what an unpadded convolution took."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(width, width, 3, stride=stride, padding=stride - 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, size: list[int]) -> Tensor:
        result: Tensor = self.norm(self.conv(x, output_size=size))
        return result


def _normed(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))
