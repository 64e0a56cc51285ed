"""`whatwhere compare`: does a gate pay?"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from whatwhere.cli.machine import Machine

if TYPE_CHECKING:
    from whatwhere.train import Recipe

__all__ = ["Compare"]

_USUAL: dict[str, dict[str, Any]] = {
    "classify": {"host": "resnet20", "batch_size": 128, "sgd": 0.1, "adamw": 1e-3},
    "detect": {"host": "ssd-resnet8", "batch_size": 32, "sgd": 0.05, "adamw": 1e-3},
}
_WORDS = {"classify": "classifiers", "detect": "detectors"}
# Options that one task alone has, what they are where they were not given, and what to do in the other one.
_ONLY: dict[str, tuple[tuple[str, Any, str], ...]] = {
    "classify": (
        ("stem", None, "leave --stem out"),
        ("label_smoothing", 0.0, "leave --label-smoothing out"),
        ("padding", None, "--augment scale or ssd changes where things are"),
        ("flip", True, "--augment none"),
        ("compile", False, "leave --compile out"),
        ("graphs", False, "leave --graphs out"),
    ),
    "detect": (("augment", None, "--padding and --flip change their images, or --task detect"),),
}


@dataclass(frozen=True)
class Compare:
    """Train a host with several gates, with the same seeds, and say which gate pays.

    In one seed all arms start from the same host weights and see the images in the same order. The epoch is chosen on
    the validation split and the test split is read once a trial. OUT gets summary.json, table.md, picture.png and a
    folder for each trial. Run it again after an interruption: finished trials are skipped, broken-off ones go on.

    An arm is a gate with its options after colons, its place after @ and its start after /, as in
    bam:combine=product:reduction=8@blocks/identity. Arms of equal budget: wider and deeper are the host with the first
    gate's parameters, extra_block has the host's own block in the gate's place, bam/frozen is a random gate that is
    never trained.

    stream:PATH reads a folder tree or shards that the memory does not hold; imagenet is the one in ROOT/imagenet.

    --task detect compares detectors, by COCO's AP or, on VOC's data, by VOC2007's. Hosts, data and defaults are other
    ones, images and boxes are changed by --augment, and what only classifiers have is refused.
    """

    task: Literal["classify", "detect"] = "classify"
    """What the networks do: name what an image shows, or find the objects in it."""
    host: str | None = None
    """The network: whatwhere's own (resnet20, ...), torchvision/NAME or timm/NAME; a detector: ssd-resnet8,
    fasterrcnn-resnet50-fpn:weights=imagenet, ... None: resnet20, or ssd-resnet8."""
    gates: str = "none,se,bam,cbam"
    """Arms, separated by commas; none is the bare host."""
    data: str = "scenes"
    """The images: scenes (drawn here), cifar10, cifar100, fashion-mnist, imagenet, folder:PATH or stream:PATH; to
    detect in, scenes (several objects each), coco or voc in ROOT, coco:PATH or voc:PATH."""
    seeds: int = 3
    """How many seeds each arm is trained with (0, 1, ...); one seed allows no statement."""
    epochs: int = 2
    """Epochs of each trial."""
    out: Path = Path("runs/compare")
    """Folder for everything that is written."""
    at: str | None = None
    """One place for all gates: bottlenecks, blocks, stages, heads (of a detector, before every classifier) or a regular
    expression; None: each at its paper's place."""
    start: Literal["preset", "identity"] = "preset"
    """How gates start: as their paper says, or as the identity."""
    root: Path | None = None
    """Where the data lie, for those that are read from disk."""
    limit: int | None = None
    """Use only so many training images."""
    image_size: int | None = None
    """Bring the images to this side, in pixels; of most detectors the shorter side."""
    stem: Literal["standard", "small"] | None = None
    """The host's first layers, of classifiers; None: small for images up to 64 pixels."""
    batch_size: int | None = None
    """Images in a batch; None: 128, of detectors 32."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    """The optimiser; sgd has Nesterov momentum 0.9."""
    lr: float | None = None
    """Peak learning rate; None: 0.1 for sgd, of detectors 0.05, and 0.001 for adamw."""
    weight_decay: float = 5e-4
    """Weight decay."""
    schedule: Literal["cosine", "step"] = "cosine"
    """Course of the learning rate; step divides it by 10 at a half and at three quarters of the epochs."""
    warmup_epochs: float = 0.0
    """Epochs (fractions too) in which the learning rate rises to its peak."""
    label_smoothing: float = 0.0
    """Label smoothing, of classifiers."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass."""
    padding: int | None = None
    """Shift training images of classifiers by up to so many pixels; 0 for pictures whose objects stand at the edge
    (scenes); None: 4."""
    flip: bool = True
    """Mirror training images of classifiers at random; turn off where left and right tell classes apart."""
    augment: Literal["none", "flip", "scale", "ssd"] | None = None
    """How a detector's training images and their boxes are changed: scale is with flip, ssd is colours, zoom, crops and
    flip; None: ssd where it takes one size of image, else flip."""
    accumulate: int = 1
    """Micro-batches of a step: less memory, the same batch."""
    clip_norm: float | None = None
    """The most that the norm of all gradients may be."""
    ema: float | None = None
    """Decay of a moving average of the weights, which is then what is evaluated (0.999)."""
    compile: bool = False
    """Compile the training step of classifiers with torch.compile."""
    graphs: bool = False
    """Record the compiled step as CUDA graphs."""
    deterministic: bool = False
    """Allow only operations that give the same bits each time."""
    sync_norm: bool = False
    """Batch norms look at the images of all devices of a trial."""
    decay_norms: bool = False
    """Weight decay on biases and norms too, as in the code released with BAM and CBAM."""
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)

    def run(self) -> int:
        """Run the comparison and print the table; Markdown when standard output is not a terminal.

        Raises:
            WhatwhereError: as ``whatwhere.experiments.compare`` does, before any training where it can be told.
        """
        from whatwhere.experiments import Comparison, Watch, compare, grid, watcher
        from whatwhere.train.launch import is_first

        self._check()
        comparison = Comparison(
            host=self.host or _USUAL[self.task]["host"],
            gates=tuple(gate.strip() for gate in self.gates.split(",") if gate.strip()),
            data=self.data,
            seeds=self.seeds,
            recipe=self._recipe(),
            at=self.at,
            start=self.start,
            stem=self.stem,
            limit=self.limit,
            image_size=self.image_size,
            task=self.task,
        )
        status = self.machine.begin("compare")
        if status is not None:
            return status
        watch = Watch() if self.machine.quiet else watcher()
        summary = compare(comparison, self.out, root=self.root, watch=watch, loggers=self.machine.loggers)
        if is_first():
            grid(summary).show()
            if not self.machine.quiet:
                print(f"{self.out}/: summary.json, table.md, picture.png", file=sys.stderr)
        return 0

    def _check(self) -> None:
        """Whether nothing was asked for that only the other task has."""
        from whatwhere.errors import RunError

        other = "detect" if self.task == "classify" else "classify"
        for name, nothing, instead in _ONLY[other]:
            value = getattr(self, name)
            if value != nothing:
                option = name.replace("_", "-")
                said = f"--{option}" if value is True else f"--no-{option}" if value is False else f"--{option} {value}"
                raise RunError(f"compare --task {self.task}: {said} is for {_WORDS[other]} only", fix=instead)

    def _recipe(self) -> "Recipe":
        from whatwhere.train import Recipe

        usual = _USUAL[self.task]
        return Recipe(
            epochs=self.epochs,
            batch_size=usual["batch_size"] if self.batch_size is None else self.batch_size,
            optimiser=self.optimiser,
            lr=usual[self.optimiser] if self.lr is None else self.lr,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup_epochs=self.warmup_epochs,
            label_smoothing=self.label_smoothing,
            precision=self.precision,
            padding=4 if self.padding is None else self.padding,
            flip=self.flip,
            augment=self.augment,
            accumulate=self.accumulate,
            clip_norm=self.clip_norm,
            ema=self.ema,
            compile=self.compile,
            graphs=self.graphs,
            deterministic=self.deterministic,
            sync_norm=self.sync_norm,
            decay_norms=self.decay_norms,
        )
