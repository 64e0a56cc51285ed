"""What each of two processes does with a trial of a detector; spawned processes import it."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from support.few_scenes import RECIPE, few_scenes, small_ssd

from whatwhere.detect import Detection, TrainedDetector
from whatwhere.train import train

__all__ = ["TOGETHER", "train_one", "train_together"]

TOGETHER = replace(RECIPE, epochs=1, augment="flip", sync_norm=True)


class Seen(Detection):
    """Notes the images of each step, by their sum."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.steps: list[list[int]] = []

    def feed(self, *args: object) -> object:
        feed = super().feed(*args)
        epoch = feed.epoch

        def watched(number: int, *, first_step: int) -> object:
            for batch in epoch(number, first_step=first_step):
                self.steps.append([int(sample.image.sum()) for sample in batch.samples])
                yield batch

        feed.epoch = watched
        return feed


def train_one(folder: Path) -> tuple[TrainedDetector, list[list[int]]]:
    """A trial of 14 images: three batches of four and one of two."""
    model = small_ssd()
    task = Seen(few_scenes(train=14), model)
    return train(model, task, TOGETHER, seed=0, folder=folder, progress=False), task.steps


def train_together(rank: int, folder: str, port: int) -> None:
    """The same on two processes; what came of it and what was seen to ``folder``."""
    torch.set_num_threads(1)
    places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ.update(places, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), ACCELERATE_USE_CPU="true")
    trained, steps = train_one(Path(folder) / "trial")
    torch.save({"measures": dict(trained.measures), "steps": steps}, Path(folder) / f"{rank}.pt")
