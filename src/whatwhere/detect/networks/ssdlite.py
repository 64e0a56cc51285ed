"""torchvision's SSDlite over the trunk that ImageNet's weights are of."""

from functools import partial

from torch import nn
from torchvision import models
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead

__all__ = ["ssdlite_for_imagenet"]

_CHANNELS = [672, 960, 512, 256, 256, 128]
_STRIDE_32 = 13


def ssdlite_for_imagenet(classes: int) -> SSD:
    """SSDlite over MobileNetV3 whose blocks of stride 32 have their full width; without weights they have half of it.

    torchvision makes the same difference, but only while it fetches the weights. ``classes`` counts the background.
    Source: Howard et al., Searching for MobileNetV3, ICCV 2019, section 6.3.
    """
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    model: SSD = models.get_model(
        "ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=classes
    )
    trunk = models.mobilenet_v3_large(weights=None, norm_layer=norm).features
    model.backbone = SSDLiteFeatureExtractorMobileNet(trunk, _STRIDE_32, norm)
    model.head = SSDLiteHead(_CHANNELS, model.anchor_generator.num_anchors_per_location(), classes, norm)
    return model
