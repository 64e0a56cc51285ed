"""`whatwhere pack`: a finished trial as a folder to keep, to hand on or to publish."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

__all__ = ["Pack"]


@dataclass(frozen=True)
class Pack:
    """Write a trained network, its gates and a model card into a folder that huggingface_hub reads. Nothing is sent.

    The weights are those of the trial's best epoch; the test images are looked at once more, so the data must be there.
    The card has the recipe, the results of all seeds found beside the trial, and what the network is not.

    For example: whatwhere pack runs/compare/bam-seed0-1a2b3c4d --out bam-resnet20
    """

    trial: Annotated[Path, tyro.conf.Positional]
    """The folder of one finished trial of compare or reproduce."""
    out: Path
    """The folder to write: config.json, model.safetensors, README.md."""
    root: Path | None = None
    """Where the data lie, for those that are read from disk."""

    def run(self) -> int:
        """Read, measure, write, and print what was written.

        Raises:
            WhatwhereError: the trial is not finished, is a control that cannot be rebuilt, or its files do not belong
                together; the folder cannot be written.
        """
        from whatwhere.experiments.packing import read_trial
        from whatwhere.hub import save_network
        from whatwhere.hub.folder import check_target

        check_target(self.out, f"pack(out={str(self.out)!r})")
        found = read_trial(self.trial, self.root)
        save_network(found.model, self.out, trained=found.trained, metadata=found.metadata, **found.facts)
        print(f"{self.out}/: config.json, model.safetensors, README.md")
        return 0
