"""`whatwhere explain`: what does a network look at?"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from whatwhere.explain.explanation import Explanation
    from whatwhere.hub import GatedNetwork

__all__ = ["Explain"]

_DEMO_PICTURES = 60


@dataclass(frozen=True)
class Explain:
    """Show, picture by picture, where each gate looks and which channels it raises, next to Grad-CAM: as one HTML page.

    Pictures are files, folders, patterns in quotes, or data sets by name: scenes, cifar100, folder:PATH, voc:PATH,
    coco:PATH. Where objects are known, as in the last two and in scenes, maps are scored against them. The numbers go
    into a JSON file beside the page. A picture that cannot be read is told, and loses none of the others.

    For example: whatwhere explain photos --model runs/network --against torchvision/resnet50 --pretrained
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """What to look at."""
    model: str | None = None
    """The network: a folder that whatwhere pack wrote, or torchvision/NAME, timm/NAME or whatwhere's own with weights
    by --checkpoint or --pretrained."""
    checkpoint: Path | None = None
    """A state dict (.pth or .safetensors) for --model."""
    gate: str | None = None
    """The gates that the checkpoint has, such as bam or cbam:preset=released."""
    at: str | None = None
    """Where they stand; None: the place of the gate's paper."""
    against: str | None = None
    """A second network, shown beside the first; like --model."""
    against_checkpoint: Path | None = None
    """A state dict for --against, without gates."""
    pretrained: bool = False
    """Fetch the weights that their library publishes, for networks named without a checkpoint."""
    demo: bool = False
    """Show a small network with CBAM beside one without, both part of this package, on scenes it has never seen."""
    out: Path = Path("explained.html")
    """The page; the numbers go to the same name with .json."""
    figures: Path | None = None
    """A folder for figures to print, as PNG and PDF."""
    method: str = "gradcam"
    """gradcam, gradcampp, smoothgradcampp, xgradcam, layercam, scorecam, sscam or iscam."""
    layer: str | None = None
    """The module whose output the method weighs; None: the last feature map."""
    target: str | None = None
    """A class, by name or number, whose map is wanted of every picture, beside the most probable ones."""
    top: int = 3
    """Maps of so many classes a picture."""
    limit: int | None = None
    """Look at so many pictures, spread evenly over those found."""
    shown: int = 100
    """Pictures in the page; numbers are over all."""
    faithful: int = 0
    """Measure insertion and deletion on so many pictures, and ROAD if grad-cam is installed; takes long."""
    sanity: bool = False
    """Also score the maps of the same networks with their weights shuffled, which should be far worse."""
    image_size: int | None = None
    """Side to which pictures are brought; None: that of the network's training."""
    root: Path | None = None
    """Where data sets named without a path lie."""

    def run(self) -> int:
        """Look, write, and print what was written and what is to be said.

        Raises:
            WhatwhereError: a network, picture source, class or layer does not exist, or nothing can be written.
        """
        from whatwhere.explain import explain, pictures
        from whatwhere.report import check_page, write_explanation

        self._check()
        check_page(self.out, self.figures)
        networks = self._networks()
        first = next(iter(networks.values())).config
        sources = self.images or ("scenes",)
        found = pictures(
            sources,
            image_size=first.image_size,
            channels=first.in_channels,
            limit=_DEMO_PICTURES if self.demo and self.limit is None else self.limit,
            root=self.root,
        )
        explanation = explain(
            networks,
            found,
            source=" ".join(sources),
            method=self.method,
            layer=self.layer,
            target=self.target,
            top=self.top,
            shown=self.shown,
            faithful=self.faithful,
            sanity=self.sanity or self.demo,
        )
        for path in write_explanation(explanation, self.out):
            print(path)
        _tell(explanation)
        if self.figures is not None:
            from whatwhere.explain.figures.writing import write_figures

            for path in write_figures(explanation, networks, self.figures):
                print(path)
        return 0

    def _check(self) -> None:
        """See that the options say something together."""
        from whatwhere.errors import RunError

        own = ("model", "checkpoint", "gate", "at", "against", "against_checkpoint", "pretrained", "image_size", "root")
        given = [f"--{name.replace('_', '-')}" for name in own if getattr(self, name)]
        if self.demo and (self.images or given):
            odd = " and ".join([*(["IMAGES"] if self.images else []), *given])
            raise RunError("explain --demo: it has networks and pictures of its own", fix=f"leave out {odd}")
        if not self.demo and (self.model is None or not self.images):
            lacking = "IMAGES" if self.model else "--model" if self.images else "IMAGES and --model"
            raise RunError(
                f"explain: {lacking} must be named",
                fix="whatwhere explain photos/*.jpg --model NETWORK; or whatwhere explain --demo",
            )
        named = ((self.model, self.checkpoint), (self.against, self.against_checkpoint))
        if self.pretrained and not any(self._fetched(name, file) for name, file in named):
            raise RunError("explain --pretrained: no network is left to fetch weights for", fix="leave it out")
        if self.against_checkpoint is not None and self.against is None:
            raise RunError("explain --against-checkpoint: no network is named for it", fix="name one by --against")
        for name, least in (("top", 1), ("limit", 1), ("shown", 1), ("faithful", 0), ("image_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                option = name.replace("_", "-")
                raise RunError(f"explain --{option} {value}: it is {least} or more")

    def _fetched(self, name: str | None, checkpoint: Path | None) -> bool:
        """Whether a network's weights are those that its library publishes."""
        return self.pretrained and name is not None and checkpoint is None and not Path(name).is_dir()

    def _networks(self) -> "dict[str, GatedNetwork]":
        from whatwhere.errors import RunError
        from whatwhere.explain.opening import DEMO, embedded, open_network

        if self.model is None:
            return {f"scenes-resnet8-{name}": embedded(name) for name in DEMO}
        networks = {
            self.model: open_network(
                self.model,
                checkpoint=self.checkpoint,
                gate=self.gate,
                at=self.at,
                image_size=self.image_size,
                pretrained=self._fetched(self.model, self.checkpoint),
            )
        }
        if self.against is not None:
            name = self.against if self.against != self.model else f"{self.against} (second)"
            networks[name] = open_network(
                self.against,
                checkpoint=self.against_checkpoint,
                image_size=None if Path(self.against).is_dir() else self.image_size,
                pretrained=self._fetched(self.against, self.against_checkpoint),
            )
        sizes = {(network.config.in_channels, *network.config.image_size) for network in networks.values()}
        if len(sizes) > 1:
            raise RunError(
                "explain: both networks must take images of one size",
                got=" and ".join(" x ".join(map(str, size)) for size in sorted(sizes)),
                fix="networks trained alike",
            )
        return networks


def _tell(explanation: "Explanation") -> None:
    """How the networks did, what is to be said of their gates, and what went wrong."""
    many = f"{explanation.count} picture{'s' * (explanation.count > 1)}"
    for network in explanation.networks:
        known = "" if network.accuracy is None else f", {network.accuracy:.1%} of those with a known class right"
        print(f"{network.name}: {many}{known}")
        for one in network.diagnoses:
            for remark in one.advice:
                print(f"  {one.site}: {remark}")
    for problem in explanation.problems:
        print(problem, file=sys.stderr)
