"""The detectors of the papers' VOC tables: SSD and StairNet over VGG-16 and MobileNet, at 300 pixels."""

from collections.abc import Sequence

from torch import nn
from torchvision.models.detection.ssd import SSD

from whatwhere.detect.networks.ssd import ssd
from whatwhere.detect.networks.stairnet import StairTrunk, TopDown
from whatwhere.detect.networks.trunks import MobileNetTrunk, VGGTrunk

__all__ = ["ssd300_mobilenet", "ssd300_vgg16", "stairnet300_mobilenet", "stairnet300_vgg16"]

# SSD itself has four anchors at the finest scale; with six, and so six at the four finest, counts are the papers'.
_RATIOS = ((2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,))
_VGG_SCALES = (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05)
_MOBILENET_SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)


def ssd300_vgg16(classes: int) -> SSD:
    """SSD over VGG-16: 26,515,936 parameters for VOC's 20 classes and the background.

    ``classes`` counts the background. Source: Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, with the
    default boxes of its release for VOC, but six at the finest scale.
    """
    return _over_vgg16(VGGTrunk(), VGGTrunk.channels, classes)


def stairnet300_vgg16(classes: int) -> SSD:
    """StairNet over VGG-16: 32,005,600 parameters for VOC's 20 classes and the background. See ``TopDown``."""
    topdown = TopDown(VGGTrunk.channels, 256, kernel_size=3, strides=VGGTrunk.strides)
    return _over_vgg16(StairTrunk(VGGTrunk(), topdown), [256] * 6, classes)


def ssd300_mobilenet(classes: int) -> SSD:
    """SSD over MobileNet: 5,813,536 parameters for VOC's 20 classes and the background. See ``MobileNetTrunk``."""
    return _over_mobilenet(MobileNetTrunk(), MobileNetTrunk.channels, classes)


def stairnet300_mobilenet(classes: int) -> SSD:
    """StairNet over MobileNet: 5,977,376 parameters for VOC's 20 classes and the background. See ``TopDown``."""
    topdown = TopDown(MobileNetTrunk.channels, 128, kernel_size=1, strides=None)
    return _over_mobilenet(StairTrunk(MobileNetTrunk(), topdown), [128] * 6, classes)


def _over_vgg16(backbone: nn.Module, channels: Sequence[int], classes: int) -> SSD:
    return ssd(backbone, channels, classes, size=300, ratios=_RATIOS, scales=_VGG_SCALES)


def _over_mobilenet(backbone: nn.Module, channels: Sequence[int], classes: int) -> SSD:
    return ssd(backbone, channels, classes, size=300, ratios=_RATIOS, scales=_MOBILENET_SCALES, kernel_size=1)
