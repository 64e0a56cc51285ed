"""`whatwhere plan`: where would gates go, and what would they cost?"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """Print the sites of a gate in a network, and what each costs. Nothing is trained, changed or downloaded.

    For example: whatwhere plan --host timm/resnet50 --gate cbam --at blocks
    """

    host: str
    """The network: whatwhere's own (resnet20, ...), torchvision/NAME or timm/NAME."""
    gate: str
    """se, bam or cbam, options after colons (bam:combine=product:reduction=8)."""
    at: str | None = None
    """bottlenecks, blocks, stages, transitions, or a regular expression; None: the place of the gate's paper."""
    exclude: str | None = None
    """A regular expression: sites whose whole name it matches are left out."""
    start: Literal["preset", "identity"] = "preset"
    """How the gates would start."""
    image_size: int = 224
    """Side of the images, in pixels."""
    stem: Literal["standard", "small"] = "standard"
    """The host's first layers; small is for images of 32 pixels."""

    def run(self) -> int:
        """Build the network without weights, plan and print.

        Raises:
            WhatwhereError: on an unknown host, gate, option or place.
        """
        from whatwhere import plan
        from whatwhere.errors import HostError
        from whatwhere.hosts import skeleton

        if self.image_size < 1:
            raise HostError("plan --image-size: an image has at least one pixel", got=f"--image-size {self.image_size}")
        size = (3, self.image_size, self.image_size)
        model = skeleton(self.host, stem=self.stem)
        print(plan(model, self.gate, at=self.at, exclude=self.exclude, start=self.start, input_size=size))
        return 0
