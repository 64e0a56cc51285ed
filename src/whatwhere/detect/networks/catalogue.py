"""The detectors by name, and what may be asked of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import nn
from torchvision import models

from whatwhere.detect.networks.c4 import faster_rcnn_c4
from whatwhere.detect.networks.pyramids import faster_rcnn_fpn, fcos_fpn, retinanet_fpn
from whatwhere.detect.networks.small import ssd_resnet8
from whatwhere.detect.networks.ssdlite import ssdlite_for_imagenet
from whatwhere.detect.networks.voc import ssd300_mobilenet, ssd300_vgg16, stairnet300_mobilenet, stairnet300_vgg16

__all__ = ["OWN", "Network", "published", "published_names"]


@dataclass(frozen=True)
class Network:
    """One detector.

    Attributes:
        detector: builds it, with batch norms and fresh weights, for a number of classes that counts the background.
        trunk: beginnings of names in a file of its trunk alone, and what they begin with in the detector; the first
            that fits counts. Empty: it takes no such files, and its trunk's norms cannot be told from others.
        imagenet: torchvision's weights of the trunk, as ``torchvision.models.get_weight`` takes them; None: none.
        coco: torchvision's detector with the same tensors; None: none.
        for_imagenet: builds it for those of ImageNet, where they are of another trunk; None: they are of the same.
        frozen: whether norms stay as they are by default once weights were loaded.
        least: the shortest side in pixels to which its images can be brought.
    """

    detector: Callable[[int], nn.Module]
    trunk: Mapping[str, str] = field(default_factory=dict)
    imagenet: str | None = None
    coco: str | None = None
    for_imagenet: Callable[[int], nn.Module] | None = None
    frozen: bool = False
    least: int = 32

    @property
    def stages(self) -> bool:
        """Whether the trunk is a ResNet, whose first stages can be kept as they are."""
        return self.imagenet is not None and self.imagenet.startswith("ResNet")

    @property
    def without_eps(self) -> bool:
        """Whether torchvision's detector was trained without what keeps a norm from dividing by zero."""
        return self.coco in ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")


_MOBILENET_V3 = "MobileNet_V3_Large_Weights.IMAGENET1K_V1"


def _imagenet(resnet: str) -> str:
    return f"ResNet{resnet.removeprefix('resnet')}_Weights.IMAGENET1K_V1"


def _pyramid(make: Callable[[str, int], nn.Module], resnet: str, coco: str | None = None) -> Network:
    return Network(partial(make, resnet), {"": "backbone.body."}, _imagenet(resnet), coco, frozen=True)


def _c4(resnet: str) -> Network:
    places = {"layer4.": "roi_heads.box_head.layer4.", "": "backbone."}
    return Network(partial(faster_rcnn_c4, resnet), places, _imagenet(resnet), frozen=True)


def _vgg(make: Callable[[int], nn.Module], trunk: str) -> Network:
    return Network(make, {"features.": f"{trunk}.features."}, "VGG16_Weights.IMAGENET1K_V1", least=260)


def published_names() -> tuple[str, ...]:
    """torchvision's detectors of boxes, without those that outline objects or find points on them as well."""
    names: list[str] = models.list_models(module=models.detection)
    return tuple(name for name in names if not name.startswith(("maskrcnn", "keypointrcnn")))


def published(name: str) -> Network:
    """torchvision's own detector of that name, one of ``published_names``."""
    detector = partial(_from_torchvision, name)
    if name.startswith("ssd300_vgg16"):
        # its trunk is cut before the fourth pool, and numbered anew behind it
        numbered = [*(f"features.{n}." for n in range(23)), *(f"extra.0.{n}." for n in range(7))]
        places = {f"features.{n}.": f"backbone.{there}" for n, there in enumerate(numbered)}
        return Network(detector, places, "VGG16_Weights.IMAGENET1K_FEATURES", name, least=268)
    frozen = not name.endswith("_v2")
    if "resnet50_fpn" in name:
        return Network(detector, {"": "backbone.body."}, _imagenet("resnet50"), name, frozen=frozen)
    if name.startswith("fasterrcnn_mobilenet"):
        return Network(detector, {"features.": "backbone.body."}, _MOBILENET_V3, name, frozen=frozen)
    if name.startswith("ssdlite320_mobilenet_v3"):
        return Network(detector, _ssdlite_places(), _MOBILENET_V3, name, ssdlite_for_imagenet)
    return Network(detector, coco=name)


def _ssdlite_places() -> dict[str, str]:
    """The trunk is cut within its block of stride 32, behind the convolution that widens."""
    fine = {f"features.{n}.": f"backbone.features.0.{n}." for n in range(13)}
    cut = {"features.13.block.0.": "backbone.features.0.13.", "features.13.block.": "backbone.features.1.0."}
    return fine | cut | {f"features.{n}.": f"backbone.features.1.{n - 13}." for n in range(14, 17)}


def _from_torchvision(name: str, classes: int) -> nn.Module:
    model: nn.Module = models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    return model


OWN = {
    "fasterrcnn-resnet18-fpn": _pyramid(faster_rcnn_fpn, "resnet18"),
    "fasterrcnn-resnet50-fpn": _pyramid(faster_rcnn_fpn, "resnet50", "fasterrcnn_resnet50_fpn"),
    "fasterrcnn-resnet101-fpn": _pyramid(faster_rcnn_fpn, "resnet101"),
    "fasterrcnn-resnet50-c4": _c4("resnet50"),
    "fasterrcnn-resnet101-c4": _c4("resnet101"),
    "retinanet-resnet18-fpn": _pyramid(retinanet_fpn, "resnet18"),
    "retinanet-resnet50-fpn": _pyramid(retinanet_fpn, "resnet50", "retinanet_resnet50_fpn"),
    "fcos-resnet18-fpn": _pyramid(fcos_fpn, "resnet18"),
    "fcos-resnet50-fpn": _pyramid(fcos_fpn, "resnet50", "fcos_resnet50_fpn"),
    "ssd300-vgg16": _vgg(ssd300_vgg16, "backbone"),
    "ssd300-mobilenet": Network(ssd300_mobilenet, {"": "backbone.trunk."}),
    "stairnet300-vgg16": _vgg(stairnet300_vgg16, "backbone.trunk"),
    "stairnet300-mobilenet": Network(stairnet300_mobilenet, {"": "backbone.trunk.trunk."}),
    "ssdlite320-mobilenet-v3": published("ssdlite320_mobilenet_v3_large"),
    "ssd-resnet8": Network(ssd_resnet8, {"": "backbone."}),
}
