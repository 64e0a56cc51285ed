"""`whatwhere detect train`: one detector, with or without gates."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from whatwhere.cli.machine import Machine

if TYPE_CHECKING:
    from whatwhere.experiments import TrialSpec

__all__ = ["Train"]

_OF_RECIPE = (
    *("epochs", "batch_size", "optimiser", "lr", "weight_decay", "schedule", "warmup_epochs", "augment"),
    *("precision", "accumulate", "clip_norm", "ema", "sync_norm"),
)


@dataclass(frozen=True)
class Train:
    """Train one detector and say what COCO (and VOC, for its data) makes of it on the test images.

    A profile gives everything that is not named: smoke (does everything run? a small SSD on embedded images, minutes),
    short, modern, and paper (what is known of the papers' training). OUT gets a folder for the trial, with its
    checkpoint, a line an epoch and result.json; detect evaluate and predict take that folder. Run it again after an
    interruption: it goes on. To compare gates over several seeds: whatwhere compare --task detect.

    For example: whatwhere detect train --data scenes --profile smoke --gate bam
    """

    data: str = "scenes"
    """The images: scenes (drawn here, several objects each), coco:PATH, voc:PATH, or coco and voc in ROOT."""
    profile: Literal["smoke", "short", "modern", "paper"] = "smoke"
    """What is taken where an option is None."""
    detector: str | None = None
    """The detector, with options after colons: ssd-resnet8, fasterrcnn-resnet50-fpn:weights=imagenet, ..."""
    gate: str = "none"
    """An arm as in compare: none, bam, cbam:reduction=8@blocks, bam@heads/identity, ..."""
    start: Literal["preset", "identity"] = "preset"
    """How gates start whose name does not say."""
    seed: int = 0
    """Of the weights, the gates and the order of the images."""
    out: Path = Path("runs/detect")
    """Folder for the trial's folder."""
    root: Path | None = None
    """Where coco and VOCdevkit lie."""
    limit: int | None = None
    """Use only so many training images."""
    image_size: int | None = None
    """Side to which the detector brings images; of an SSD both sides."""
    epochs: int | None = None
    """Passes over the training images."""
    batch_size: int | None = None
    """Images in a batch, over all devices."""
    optimiser: Literal["sgd", "adamw"] | None = None
    """The optimiser."""
    lr: float | None = None
    """Peak learning rate."""
    weight_decay: float | None = None
    """Weight decay."""
    schedule: Literal["cosine", "step"] | None = None
    """Course of the learning rate."""
    warmup_epochs: float | None = None
    """Epochs (fractions too) in which the learning rate rises to its peak."""
    augment: Literal["none", "flip", "scale", "ssd"] | None = None
    """How images and their boxes are changed."""
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """Arithmetic of the training step; evaluation is in fp32."""
    accumulate: int | None = None
    """Micro-batches of a step: less memory, the same batch."""
    clip_norm: float | None = None
    """The most that the norm of all gradients may be."""
    ema: float | None = None
    """Decay of a moving average of the weights, which is then what is evaluated (0.999)."""
    sync_norm: bool | None = None
    """Batch norms look at the images of all devices."""
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)

    def run(self) -> int:
        """Train, or go on, and print the figures; Markdown when standard output is not a terminal.

        Raises:
            WhatwhereError: data, detector, gate or recipe cannot be had, before any training where it can be told.
        """
        from whatwhere.cli.detect_tables import show
        from whatwhere.experiments import Lines, Watch
        from whatwhere.experiments.one_detector import train_detector
        from whatwhere.train.launch import is_first

        status = self.machine.begin("detect train")
        if status is not None:
            return status
        spec = self.spec()
        quiet = self.machine.quiet
        result, notes = train_detector(
            spec,
            self.out,
            root=self.root,
            watch=Watch() if quiet else Lines(sys.stderr),
            loggers=self.machine.loggers,
            progress=not quiet,
        )
        if is_first() and result.detection is not None:
            show(result.detection["test"], result.detection["per_class"])
            gates = f"{spec.gate} at {len(result.sites)} sites" if result.sites else "no gates"
            print(f"\n{spec.host}, {gates}, {result.parameters:,} parameters: {self.out / result.spec.name}")
            for note in notes:
                print(note, file=sys.stderr)
        return 0

    def spec(self) -> "TrialSpec":
        """The trial that the options and the profile describe."""
        from whatwhere.experiments import Comparison
        from whatwhere.papers.profiles import setting

        usual = setting("voc2007" if self.data.partition(":")[0] == "voc" else "coco", self.profile)
        given = {name: value for name in _OF_RECIPE if (value := getattr(self, name)) is not None}
        comparison = Comparison(
            host=self.detector or usual.host or f"fasterrcnn-resnet50-fpn{usual.options}",
            gates=(self.gate,),
            data=self.data,
            recipe=replace(usual.recipe, **given),
            start=self.start,
            stem="standard",
            limit=self.limit if self.limit is not None else usual.limit,
            image_size=self.image_size if self.image_size is not None or self.detector else usual.image_size,
            task="detect",
        )
        return comparison.trial(self.gate, self.seed)
