"""`whatwhere compare`: does a gate pay?"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from whatwhere.cli.machine import Machine

if TYPE_CHECKING:
    from whatwhere.train import Recipe

__all__ = ["Compare"]


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
    """

    host: str = "resnet20"
    """The network: whatwhere's own (resnet20, ...), torchvision/NAME or timm/NAME."""
    gates: str = "none,se,bam,cbam"
    """Arms, separated by commas; none is the bare host."""
    data: str = "scenes"
    """The images: scenes (drawn here), cifar10, cifar100, fashion-mnist, imagenet, folder:PATH or stream:PATH."""
    seeds: int = 3
    """How many seeds each arm is trained with (0, 1, ...); one seed allows no statement."""
    epochs: int = 2
    """Epochs of each trial."""
    out: Path = Path("runs/compare")
    """Folder for everything that is written."""
    at: str | None = None
    """One place for all gates: bottlenecks, blocks, stages or a regular expression; None: each at its paper's place."""
    start: Literal["preset", "identity"] = "preset"
    """How gates start: as their paper says, or as the identity."""
    root: Path | None = None
    """Where the data lie, for those that are read from disk."""
    limit: int | None = None
    """Use only so many training images."""
    image_size: int | None = None
    """Bring the images to this side, in pixels."""
    stem: Literal["standard", "small"] | None = None
    """The host's first layers; None: small for images up to 64 pixels."""
    batch_size: int = 128
    """Images in a batch."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    """The optimiser; sgd has Nesterov momentum 0.9."""
    lr: float | None = None
    """Peak learning rate; None: 0.1 for sgd, 0.001 for adamw."""
    weight_decay: float = 5e-4
    """Weight decay."""
    schedule: Literal["cosine", "step"] = "cosine"
    """Course of the learning rate; step divides it by 10 at a half and at three quarters of the epochs."""
    warmup_epochs: float = 0.0
    """Epochs (fractions too) in which the learning rate rises to its peak."""
    label_smoothing: float = 0.0
    """Label smoothing."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass."""
    padding: int = 4
    """Shift training images by up to so many pixels; 0 for pictures whose objects stand at the edge (scenes)."""
    flip: bool = True
    """Mirror training images at random; turn off where left and right tell classes apart."""
    accumulate: int = 1
    """Micro-batches of a step: less memory, the same batch."""
    clip_norm: float | None = None
    """The most that the norm of all gradients may be."""
    ema: float | None = None
    """Decay of a moving average of the weights, which is then what is evaluated (0.999)."""
    compile: bool = False
    """Compile the training step with torch.compile."""
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

        comparison = Comparison(
            host=self.host,
            gates=tuple(gate.strip() for gate in self.gates.split(",") if gate.strip()),
            data=self.data,
            seeds=self.seeds,
            recipe=self._recipe(),
            at=self.at,
            start=self.start,
            stem=self.stem,
            limit=self.limit,
            image_size=self.image_size,
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

    def _recipe(self) -> "Recipe":
        from whatwhere.train import Recipe

        lr = {"sgd": 0.1, "adamw": 0.001}[self.optimiser] if self.lr is None else self.lr
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            lr=lr,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup_epochs=self.warmup_epochs,
            label_smoothing=self.label_smoothing,
            precision=self.precision,
            padding=self.padding,
            flip=self.flip,
            accumulate=self.accumulate,
            clip_norm=self.clip_norm,
            ema=self.ema,
            compile=self.compile,
            graphs=self.graphs,
            deterministic=self.deterministic,
            sync_norm=self.sync_norm,
            decay_norms=self.decay_norms,
        )
