"""Small detectors for tests: torchvision's families on a ResNet-18, and the papers' forms in miniature."""

import copy
import functools

import torch
from torch import nn
from torchvision.models import detection, resnet18
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

SMALL = {"min_size": 64, "max_size": 96}
FEW = {f"rpn_post_nms_top_n_{mode}": 40 for mode in ("train", "test")}


def faster():
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    return detection.FasterRCNN(backbone, 3, box_score_thresh=0.0, **SMALL, **FEW)


def _pyramid():
    levels = LastLevelP6P7(256, 256)
    return resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, returned_layers=[2, 3, 4], extra_blocks=levels, trainable_layers=5
    )


def retina():
    return detection.RetinaNet(_pyramid(), 3, score_thresh=0.0, **SMALL)


def fcos():
    return detection.FCOS(_pyramid(), 3, score_thresh=0.0, **SMALL)


def ssdlite():
    free = {"weights": None, "weights_backbone": None}
    return detection.ssdlite320_mobilenet_v3_large(num_classes=3, score_thresh=0.0, **free)


class Pooled(nn.Sequential):
    def forward(self, x):
        return super().forward(x).mean((2, 3))


def c4():
    """Faster R-CNN without a pyramid: the last stage runs on regions."""
    whole = resnet18(weights=None, norm_layer=FrozenBatchNorm2d)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    trunk = nn.Sequential()
    for name in names:
        trunk.add_module(name, getattr(whole, name))
    trunk.out_channels = 256
    anchors = detection.rpn.AnchorGenerator(((16, 32),), ((0.5, 1.0),))
    return detection.FasterRCNN(
        trunk,
        rpn_anchor_generator=anchors,
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        box_head=Pooled(whole.layer4),
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(512, 3),
        box_score_thresh=0.0,
        **SMALL,
        **FEW,
    )


CASES = {"faster": faster, "retina": retina, "fcos": fcos, "ssdlite": ssdlite, "c4": c4}


@functools.cache
def _made(name):
    torch.manual_seed(0)
    return CASES[name]()


def detector(name):
    return copy.deepcopy(_made(name))


def images():
    torch.manual_seed(1)
    return [torch.rand(3, 48, 64), torch.rand(3, 64, 56)]


def targets():
    boxes = torch.tensor([[4.0, 5.0, 30.0, 40.0], [20.0, 8.0, 50.0, 44.0]])
    return [{"boxes": boxes.clone(), "labels": torch.tensor([1, 2])} for _ in range(2)]


def detections(model):
    with torch.no_grad():
        return [list(one.values()) for one in model.eval()(images())]


def losses(model, count=2):
    """The losses of one training step's forward, whatever it draws at random drawn alike."""
    torch.manual_seed(2)
    return model(images()[:count], targets()[:count])
