"""The trunks of this package's SSDs: from images to maps of several scales."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from whatwhere.detect.networks.ssd import draw_xavier_, extras
from whatwhere.hosts import MobileNet, ResNet
from whatwhere.hosts.blocks import BasicBlock, draw_convolutions_

__all__ = ["MobileNetTrunk", "ResNetTrunk", "VGGTrunk"]

# Channels of VGG-16's convolutions; 0 is a max-pool.
_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
_THIRD_POOL, _FOURTH_POOL = 16, 23


class VGGTrunk(nn.Module):
    """VGG-16 with its first two linear layers as convolutions, and four extra layers behind: six scales.

    At 300 pixels the maps have 38, 19, 10, 5, 3 and 1 positions a side; 260 pixels are the least that leaves one.
    ``features`` has the names of torchvision's VGG-16. The two linear layers start fresh, also where a file of VGG-16
    has them. The first map is normalised over its channels and scaled.

    Source: Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, figure 2 and section 3.1.
    """

    channels = (512, 1024, 512, 256, 256, 256)
    strides = (2, 2, 2, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.features = _vgg16()
        self.scale = Parameter(torch.full((512, 1, 1), 20.0))
        self.reduced = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(inplace=True),
        )
        draw_xavier_(self.reduced)
        self.extras = extras([(256, 512, 2), (128, 256, 2), (128, 256, 1), (128, 256, 1)], 1024)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``(B, 3, H, W)`` to the six maps by their number, the finest first."""
        x = self.features[:_FOURTH_POOL](x)
        maps = [self.scale * F.normalize(x), self.reduced(self.features[_FOURTH_POOL:](x))]
        return _and_extras(maps, self.extras)


class MobileNetTrunk(nn.Module):
    """MobileNet and four extra layers behind: six scales.

    At 300 pixels the maps have 19, 10, 5, 3, 2 and 1 positions a side. ``trunk`` has the names of this package's
    MobileNet.

    The extra layers are those of the MobileNet-SSD that was published for VOC in 2017 and is used most, with biases
    in place of norms: with SSD's predictors made 1x1 that comes to the parameters that the BAM and CBAM papers print.
    """

    channels = (512, 1024, 512, 256, 256, 128)

    def __init__(self) -> None:
        super().__init__()
        host = MobileNet(num_classes=1)
        self.trunk = nn.ModuleDict({"stem": host.stem, "blocks": host.blocks})
        self.extras = extras([(256, 512, 2), (128, 256, 2), (128, 256, 2), (64, 128, 2)], 1024)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``(B, 3, H, W)`` to the six maps by their number, the finest first."""
        blocks = self.trunk["blocks"]
        assert isinstance(blocks, nn.Sequential)
        x = blocks[:11](self.trunk["stem"](x))
        return _and_extras([x, blocks[11:](x)], self.extras)


class ResNetTrunk(nn.Module):
    """A residual network of three stages of one block over ImageNet's stem: three scales, strides 4, 8 and 16."""

    channels = (32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        host = ResNet(BasicBlock, [(1, width) for width in self.channels], stem=32, num_classes=1, large_images=True)
        assert host.maxpool is not None
        self.stem = nn.Sequential(host.conv1, host.bn1, host.relu, host.maxpool)
        self.layer1, self.layer2, self.layer3 = host.layer1, host.layer2, host.layer3

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``(B, 3, H, W)`` to the three maps by their number, the finest first."""
        fine = self.layer1(self.stem(x))
        return _and_extras([fine], [self.layer2, self.layer3])


def _and_extras(maps: list[Tensor], layers: Iterable[nn.Module]) -> dict[str, Tensor]:
    for layer in layers:
        maps.append(layer(maps[-1]))
    return {str(index): x for index, x in enumerate(maps)}


def _vgg16() -> nn.Sequential:
    """The convolutions of VGG-16 up to the last, numbered as torchvision's, drawn as torchvision draws them."""
    layers: list[nn.Module] = []
    before = 3
    for channels in _VGG16:
        if channels:
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
            before = channels
        else:
            # 75 positions a side become 38, as in the paper; rounded up again, each map is half of the one before
            layers.append(nn.MaxPool2d(2, ceil_mode=len(layers) in (_THIRD_POOL, _FOURTH_POOL)))
    features = nn.Sequential(*layers)
    draw_convolutions_(features)
    for layer in features:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return features
