"""torchvision's detectors with a feature pyramid, over ResNets that it has no builder for."""

from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

__all__ = ["faster_rcnn_fpn", "fcos_fpn", "retinanet_fpn"]


def faster_rcnn_fpn(name: str, classes: int) -> FasterRCNN:
    """Faster R-CNN on five scales, of strides 4 to 64, over torchvision's ResNet called ``name``.

    ``classes`` counts the background. Sources: Ren et al., Faster R-CNN, NIPS 2015; Lin et al., Feature Pyramid
    Networks for Object Detection, CVPR 2017.
    """
    backbone = resnet_fpn_backbone(backbone_name=name, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
    return FasterRCNN(backbone, classes)


def retinanet_fpn(name: str, classes: int) -> RetinaNet:
    """RetinaNet on five scales, of strides 8 to 128, over torchvision's ResNet called ``name``.

    ``classes`` counts the background. Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """
    return RetinaNet(_from_stride_8(name), classes)


def fcos_fpn(name: str, classes: int) -> FCOS:
    """FCOS on five scales, of strides 8 to 128, over torchvision's ResNet called ``name``.

    ``classes`` counts the background. Source: Tian et al., FCOS: Fully Convolutional One-Stage Object Detection,
    ICCV 2019.
    """
    return FCOS(_from_stride_8(name), classes)


def _from_stride_8(name: str) -> nn.Module:
    backbone: nn.Module = resnet_fpn_backbone(
        backbone_name=name,
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    return backbone
