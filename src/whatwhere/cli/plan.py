"""`whatwhere plan`: where would gates go, and what would they cost?"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

__all__ = ["Plan"]

_USUAL_SIZE, _COCO_CLASSES = 224, 80


@dataclass(frozen=True)
class Plan:
    """Print the sites of a gate in a network, and what each costs. Nothing is trained, changed or downloaded.

    For example: whatwhere plan --host timm/resnet50 --gate cbam --at blocks
    """

    host: str
    """The network: whatwhere's own (resnet20, ...), torchvision/NAME or timm/NAME; or a detector (ssd300-vgg16,
    torchvision/fasterrcnn_resnet50_fpn, ...)."""
    gate: str
    """se, bam or cbam, options after colons (bam:combine=product:reduction=8)."""
    at: str | None = None
    """bottlenecks, blocks, stages, transitions, heads (of detectors), or a regular expression; None: the place of the
    gate's paper."""
    exclude: str | None = None
    """A regular expression: sites whose whole name it matches are left out."""
    start: Literal["preset", "identity"] = "preset"
    """How the gates would start."""
    image_size: int | None = None
    """Side of the images, in pixels; None: 224, or what the detector brings them to."""
    stem: Literal["standard", "small"] = "standard"
    """The host's first layers; small is for images of 32 pixels."""

    def run(self) -> int:
        """Build the network without weights, plan and print.

        Raises:
            WhatwhereError: on an unknown host, gate, option or place.
        """
        from whatwhere import detect, hosts, plan
        from whatwhere.errors import HostError

        if self.image_size is not None and self.image_size < 1:
            raise HostError("plan --image-size: an image has at least one pixel", got=f"--image-size {self.image_size}")
        if find_spec("torchvision") and self.host.partition(":")[0] in detect.names():
            model = detect.skeleton(self.host, _COCO_CLASSES, image_size=self.image_size)
            side = detect.input_side(model)
        else:
            model, side = hosts.skeleton(self.host, stem=self.stem), self.image_size or _USUAL_SIZE
        size = (3, side, side)
        print(plan(model, self.gate, at=self.at, exclude=self.exclude, start=self.start, input_size=size))
        return 0
