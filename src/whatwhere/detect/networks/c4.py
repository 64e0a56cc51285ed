"""Faster R-CNN without a pyramid: proposals on the stride-16 map, and the last stage run on each region."""

from torch import Tensor, nn
from torchvision import models
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

__all__ = ["LastStage", "StagesToStride16", "faster_rcnn_c4"]


class StagesToStride16(nn.Module):
    """A ResNet up to its third stage, under torchvision's names."""

    out_channels = 1024

    def __init__(self, resnet: models.ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.layer1, self.layer2, self.layer3 = resnet.layer1, resnet.layer2, resnet.layer3

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W) -> (B, 1024, H / 16, W / 16)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        result: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return result


class LastStage(nn.Module):
    """The fourth stage of a ResNet, run on each region, and the mean over what it gives."""

    def __init__(self, resnet: models.ResNet) -> None:
        super().__init__()
        self.layer4 = resnet.layer4

    def forward(self, x: Tensor) -> Tensor:
        """``(R, 1024, 14, 14) -> (R, 2048)``."""
        result: Tensor = self.layer4(x).mean((2, 3))
        return result


def faster_rcnn_c4(name: str, classes: int) -> FasterRCNN:
    """Faster R-CNN as the BAM and CBAM papers used it on COCO, over torchvision's ResNet called ``name``.

    Sizes of anchors, numbers of proposals and regions and the 512 channels of the proposals' head are those of the
    papers' code base, tf-faster-rcnn on COCO. Regions are read as 14x14 and the fourth stage halves them; there they
    are pooled to 7x7 first, which costs the same.

    Args:
        name: 'resnet50' or 'resnet101'.
        classes: outputs, the background among them.

    Source: Ren et al., Faster R-CNN, NIPS 2015, over He et al., Deep Residual Learning, CVPR 2016 (appendix A); Chen
    and Gupta, An Implementation of Faster RCNN with Study for Region Sampling, 2017.
    """
    resnet = models.get_model(name, weights=None, num_classes=1)
    anchors = AnchorGenerator(((64, 128, 256, 512),), ((0.5, 1.0, 2.0),))
    return FasterRCNN(
        StagesToStride16(resnet),
        min_size=600,
        max_size=1000,
        rpn_anchor_generator=anchors,
        rpn_head=_proposals(1024, 512, anchors.num_anchors_per_location()[0]),
        rpn_pre_nms_top_n_train=12000,
        rpn_pre_nms_top_n_test=6000,
        rpn_post_nms_top_n_train=2000,
        rpn_post_nms_top_n_test=300,
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=14, sampling_ratio=2),
        box_head=LastStage(resnet),
        box_predictor=FastRCNNPredictor(2048, classes),
        box_batch_size_per_image=256,
    )


def _proposals(channels: int, width: int, anchors: int) -> RPNHead:
    """torchvision's head with a convolution of another width; its own keeps the map's."""
    head = RPNHead(width, anchors)
    head.conv[0][0] = nn.Conv2d(channels, width, 3, padding=1)
    nn.init.normal_(head.conv[0][0].weight, std=0.01)
    nn.init.zeros_(head.conv[0][0].bias)
    return head
