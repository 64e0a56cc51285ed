"""Residual blocks, shared by every ResNet of this package."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from whatwhere.errors import HostError

__all__ = [
    "BasicBlock",
    "Block",
    "Bottleneck",
    "PaddedShortcut",
    "conv1x1",
    "conv3x3",
    "draw_convolutions_",
    "inner_channels",
    "projection",
    "stage",
]

Block = Callable[[int, int, int], nn.Module]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size up to its stride; no bias, for a batch norm follows."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, groups=groups, bias=False)


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


def inner_channels(out_channels: int, groups: int = 1, group_width: int = 64) -> int:
    """Channels inside a bottleneck block: a quarter of ``out_channels``, times ``groups * group_width / 64``.

    The last factor is ResNeXt's (``groups`` x ``group_width``d); it is 1 for a plain bottleneck. The result is a
    multiple of ``groups``.

    Raises:
        HostError: ``out_channels`` is no multiple of 4.
    """
    if out_channels % 4 or out_channels < 4:
        raise HostError("a bottleneck block gives a multiple of 4 channels", got=f"{out_channels} channels")
    return max(round(out_channels // 4 * group_width / 64), 1) * groups


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; with ``groups``, the block of ResNeXt.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: of one convolution and of the shortcut.
        stride_in_1x1: whether ``conv1`` has the stride, as in He et al. 2016 (and in the multiply-accumulates that the
            BAM and CBAM papers print), or ``conv2``, as in torchvision.
        shortcut: ``(in_channels, out_channels, stride) -> nn.Module``, used only where the shape changes.
        groups: of the 3x3 convolution.
        group_width: channels of each group where ``out_channels`` is 256; they grow with it (``inner_channels``).

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, figure 5 right; with groups, Xie et al.,
    Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017, figure 3c. Names as in torchvision.

    Raises:
        HostError: ``out_channels`` is no multiple of 4.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        stride_in_1x1: bool = True,
        shortcut: Shortcut = projection,
        groups: int = 1,
        group_width: int = 64,
    ) -> None:
        super().__init__()
        inner = inner_channels(out_channels, groups, group_width)
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv1x1(in_channels, inner, first)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner, second, groups)
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


def stage(block: Block, blocks: int, in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """``blocks`` blocks of one width, the first of which changes the shape."""
    rest = [block(out_channels, out_channels, 1) for _ in range(blocks - 1)]
    return nn.Sequential(block(in_channels, out_channels, stride), *rest)


def draw_convolutions_(model: nn.Module) -> None:
    """Draws all convolutions, in place, from a normal distribution of variance ``2 / fan_out``.

    Source: the released code of BAM and CBAM. Batch norms start from 1 and 0, and biases as torch draws them.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
