"""A small SSD, for sets that are drawn on the spot."""

from torchvision.models.detection.ssd import SSD

from whatwhere.detect.networks.ssd import ssd
from whatwhere.detect.networks.trunks import ResNetTrunk

__all__ = ["ssd_resnet8"]


def ssd_resnet8(classes: int) -> SSD:
    """Three scales, of strides 4, 8 and 16, over a narrow residual network, for small images with few objects.

    ``classes`` counts the background.
    """
    return ssd(ResNetTrunk(), ResNetTrunk.channels, classes, size=96, ratios=[[2]] * 3, scales=[0.15, 0.27, 0.45, 0.7])
