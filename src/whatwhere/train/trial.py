"""The state of one trial and its folder: what is taken up again, what is kept, and what comes out."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whatwhere.errors import RunError
from whatwhere.train.averaging import Average
from whatwhere.train.checkpoint import (
    Checkpoint,
    check_network,
    check_trial,
    load_checkpoint,
    load_weights,
    pack_weights,
    save_checkpoint,
)
from whatwhere.train.files import settle, sweep, write_atomically
from whatwhere.train.metrics import LINES, ROWS, append_epoch, best_of, write_epochs
from whatwhere.train.optimiser import build_optimiser
from whatwhere.train.ranks import Ranks
from whatwhere.train.recipe import Recipe
from whatwhere.train.tally import Tally
from whatwhere.train.task import Measured, Task

__all__ = ["Position", "Trial"]


@dataclass
class Position:
    """How far the epoch has come that is being trained.

    Args:
        tally: losses of its steps and what is noted of them.
        step: steps taken.
        seconds: that they took.
        waiting: of these, what was spent waiting for images.
    """

    tally: Tally
    step: int = 0
    seconds: float = 0.0
    waiting: float = 0.0


class Trial:
    """One trial in its folder. `keep` is the moment at which an epoch becomes part of it.

    Files are the first process's business; every method is called by all.

    Args:
        model: moved to the device, and to the recipe's memory format, in place.
        task: what is learnt.
        recipe: how to train.
        seed: of the trial.
        folder: of the trial alone, and one for all processes.
        accelerator: Accelerate's.
        ranks: the processes.
    """

    def __init__(
        self, model: nn.Module, task: Task, recipe: Recipe, seed: int, folder: Path, accelerator: Any, ranks: Ranks
    ) -> None:
        self.task, self.recipe, self.seed, self.ranks = task, recipe, seed, ranks
        # moved here and not by accelerator.prepare, which would leave an autocasting forward on the caller's model
        model.to(accelerator.device)
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)
        self.model = model
        self.optimiser = accelerator.prepare_optimizer(build_optimiser(model, recipe))
        self._average = None if recipe.ema is None else Average(model, recipe.ema)
        self._accelerator, self._folder = accelerator, folder
        self.checkpoint_path = folder / "checkpoint.pt"
        self._best_path = folder / "best.safetensors"
        self.history: tuple[Measured, ...] = ()
        self._best_digest = ""
        self.position = Position(Tally(ranks))

    @property
    def evaluated(self) -> nn.Module:
        """The network that is judged and saved: the average, where the recipe has one."""
        return self.model if self._average is None else self._average.model

    @property
    def _identity(self) -> dict[str, Any]:
        return {**asdict(self.recipe), "seed": self.seed, **self.task.identity()}

    def resume(self) -> None:
        """Takes up the checkpoint, if there is one, and makes the other files agree with it.

        Raises:
            RunError: it is damaged or another trial's, a file cannot be written, or the processes see several folders.
        """
        found: list[Checkpoint | None] = []

        def look() -> None:
            for name in (LINES, ROWS, self.checkpoint_path.name, self._best_path.name):
                sweep(self._folder / name)
            found.append(load_checkpoint(self.checkpoint_path, self.task.epoch))
            if found[0] is not None:
                check_trial(self.checkpoint_path, self._identity, found[0].trial)
                check_network(self.checkpoint_path, self.model.state_dict(), found[0].model)

        self.ranks.alone(look)
        checkpoint = found[0] if found else load_checkpoint(self.checkpoint_path, self.task.epoch)
        if self.ranks.any(checkpoint is None) and self.ranks.any(checkpoint is not None):
            raise RunError(
                f"train: '{self._folder}' is not the same folder for all processes",
                fix="a folder that all machines share",
            )
        if checkpoint is not None:
            self._take(checkpoint)
        self.ranks.alone(self._mend)

    def _take(self, found: Checkpoint) -> None:
        self.model.load_state_dict(found.model)
        self.optimiser.load_state_dict(found.optimiser)
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(found.scaler)
        if self._average is not None:
            self._average.load_state_dict(found.average)
        self.history, self._best_digest = found.history, found.best_digest
        if found.step:
            self.position = Position(Tally(self.ranks, found.tally), found.step, found.seconds, found.waiting)

    def _mend(self) -> None:
        write_epochs(self._folder, self.history, self.task.epoch)
        # killed after the checkpoint and before the weights were written, perhaps
        if self.history and not self.position.step and best_of(self.history) == self.history[-1]:
            settle(self._best_path, pack_weights(self.evaluated.state_dict()))

    def after_step(self) -> None:
        """Lets the average take in the weights."""
        if self._average is not None:
            self._average.update(self.model)

    def keep(self, done: Measured) -> None:
        """Writes the epoch down; the checkpoint decides, and `resume` mends the other files by it."""
        history = (*self.history, done)
        self.position = Position(Tally(self.ranks))

        def write() -> None:
            is_best = best_of(history) == done
            weights = pack_weights(self.evaluated.state_dict()) if is_best else b""
            digest = hashlib.sha256(weights).hexdigest() if is_best else self._best_digest
            append_epoch(self._folder, done)
            save_checkpoint(self.checkpoint_path, self._checkpoint(history, digest))
            if is_best:
                write_atomically(self._best_path, weights)
            self._best_digest = digest

        self.ranks.alone(write)
        self.history = history

    def keep_position(self) -> None:
        """Writes down how far the epoch has come, its tally read."""
        self.ranks.alone(
            lambda: save_checkpoint(self.checkpoint_path, self._checkpoint(self.history, self._best_digest))
        )

    def _checkpoint(self, history: tuple[Measured, ...], digest: str) -> Checkpoint:
        scaler = self._accelerator.scaler
        return Checkpoint(
            model=dict(self.model.state_dict()),
            optimiser=self.optimiser.state_dict(),
            scaler={} if scaler is None else scaler.state_dict(),
            history=history,
            trial=self._identity,
            best_digest=digest,
            average={} if self._average is None else self._average.state_dict(),
            step=self.position.step,
            tally=self.position.tally.state(),
            seconds=self.position.seconds,
            waiting=self.position.waiting,
        )

    def evaluate(self, part: Any) -> Any:
        """The state of things on ``part``, by the first process's buffers where they differ."""
        for network in {id(each): each for each in (self.model, self.evaluated)}.values():
            self.ranks.spread(network.buffers())
        micro_batch = self.recipe.batch_size // (self.ranks.world * self.recipe.accumulate)
        return self.task.evaluate(
            self.evaluated,
            part,
            self.recipe,
            self.ranks,
            self._accelerator.device,
            2 * micro_batch,  # memory that trains a batch evaluates two
        )

    def finish(self) -> Any:
        """Takes the best epoch's weights to the test images; they are the model's from now on."""
        self.ranks.alone(self._load_best)
        self.ranks.spread(self.model.state_dict().values())
        self._average = None
        test = self.evaluate(self.task.part("test", self._accelerator.device))
        best = best_of(self.history)
        seconds = math.fsum(one.seconds for one in self.history)
        images = math.fsum(one.seconds * one.images_per_second for one in self.history)
        common = dict(
            best_epoch=best.epoch,
            epochs=len(self.history),
            train_seconds=seconds,
            images_per_second=images / seconds,
            waiting=_if_all(math.fsum, [one.waiting and one.waiting * one.seconds / seconds for one in self.history]),
            peak_bytes=_if_all(max, [one.peak_bytes for one in self.history]),
        )
        return self.task.trained(best, test, common)

    def _load_best(self) -> None:
        self.model.load_state_dict(load_weights(self._best_path, self._best_digest))


def _if_all(joined: Callable[[Any], Any], values: Sequence[Any]) -> Any:
    """What epochs come to together; None where one of them does not say."""
    return None if None in values else joined(values)
