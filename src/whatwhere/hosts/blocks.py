"""Residual blocks, shared by every ResNet of this package."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BasicBlock", "Bottleneck", "PaddedShortcut", "conv1x1", "conv3x3", "projection"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size up to its stride; no bias, for a batch norm follows."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 1x1 convolution; no bias, for a batch norm follows."""
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The learnt shortcut, option B of He et al. 2016 (section 3.3): a strided 1x1 convolution and a batch norm."""
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class PaddedShortcut(nn.Module):
    """The free shortcut, option A of He et al. 2016 (section 3.3): every ``stride``-th position, new channels zero.

    Computes ``(B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))`` without parameters.
    The paper does not say where the zero channels go; here they come last.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Subsample, then append zero channels."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"new_channels={self.new_channels}, stride={self.stride}"


Shortcut = Callable[[int, int, int], nn.Module]


def _shortcut(kind: Shortcut, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """None where the block keeps the shape and the shortcut is the input itself."""
    return None if stride == 1 and in_channels == out_channels else kind(in_channels, out_channels, stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: ``relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of both convolutions and of the output.
        stride: of ``conv1`` and of the shortcut.
        shortcut: ``(in_channels, out_channels, stride) -> nn.Module``, used only where the shape changes.

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, figure 5 left. Names as in torchvision.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = projection) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + identity)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the inner width is a quarter of ``out_channels``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: of one convolution and of the shortcut.
        stride_in_1x1: whether ``conv1`` has the stride, as in He et al. 2016 (and in the multiply-accumulates that the
            BAM and CBAM papers print), or ``conv2``, as in torchvision.
        shortcut: ``(in_channels, out_channels, stride) -> nn.Module``, used only where the shape changes.

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, figure 5 right. Names as in torchvision.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        stride_in_1x1: bool = True,
        shortcut: Shortcut = projection,
    ) -> None:
        super().__init__()
        inner = out_channels // 4
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv1x1(in_channels, inner, first)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner, second)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = conv1x1(inner, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        identity = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + identity)
        return result
