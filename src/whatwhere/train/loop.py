"""Training one network once: epochs, validation, checkpoints, and one look at the test images."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whatwhere.data import Splits
from whatwhere.errors import RunError, Stopped
from whatwhere.train.classification import Classification
from whatwhere.train.engine import engine
from whatwhere.train.feeding import check_batch, next_batch
from whatwhere.train.files import make_folder
from whatwhere.train.loggers import check_loggers, logging
from whatwhere.train.memory import SMALLER, out_of_memory, peak_bytes, smaller_batch
from whatwhere.train.progress import ProgressLine
from whatwhere.train.ranks import Ranks
from whatwhere.train.recipe import Recipe
from whatwhere.train.seeds import seed_of
from whatwhere.train.signals import StopRequest, stop_requests
from whatwhere.train.step import Stepper
from whatwhere.train.sync_norm import synchronised
from whatwhere.train.task import Batch, Measured, Task
from whatwhere.train.trial import Trial

__all__ = ["train"]

_STEPS_BETWEEN_LOOKS = 20
_STEPS_BETWEEN_AGREEMENTS = 5


def train(
    model: nn.Module,
    data: Splits | Task,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    on_epoch: Callable[[Any], None] | None = None,
    progress: bool = True,
    loggers: Sequence[str] = (),
) -> Any:
    """Trains ``model`` in place, or goes on where an earlier, broken-off call of the same trial stopped.

    ``folder`` gets ``metrics.jsonl`` and ``metrics.csv`` (a line an epoch), ``checkpoint.pt`` (after each epoch) and
    ``best.safetensors`` (the weights of the epoch that did best on the validation images). Killed at any moment, the
    same call ends where the uninterrupted one would have: on a CPU with as many threads, bit for bit. All chance comes
    from ``seed``, the epoch and the step; the caller's random numbers are left as they were.

    SIGTERM and SIGUSR1 (which schedulers send ahead of time) end the step that is being taken, write a checkpoint in
    the middle of the epoch and raise `Stopped`.

    Several processes, started by torchrun or the like, train one trial together when each makes this call: they share
    every batch and every evaluation. The same images are seen and, with ``sync_norm`` and without dropout, the same
    numbers come out but for rounding, whatever their number, which may be another one after each stop. Only the first
    writes files.

    Args:
        model: initialised by the caller, the same way for each call. Left in eval mode with the best epoch's weights,
            on the device that Accelerate chose (``ACCELERATE_USE_CPU=1`` for the CPU).
        data: labelled images to classify, of which sets are moved to that device as bytes and streams are read as they
            are needed; or another `Task`, such as ``detect.Detection``.
        recipe: how to train. An epoch's last batch may be short; one of a single image is left out.
        seed: of the order of the images, their augmentation and the network's own chance (dropout).
        folder: of this trial alone, shared by its processes; made when missing.
        on_epoch: called in the first process after each epoch trained in this call, its checkpoint written.
        progress: a line on stderr, when that is a terminal.
        loggers: where else to show the epochs: ``"tensorboard"``, ``"wandb"``.

    Returns:
        What the task makes of it: a `Trained` for labelled images.

    Raises:
        Stopped: a signal asked for it; the same call goes on from there.
        RunError: the folder holds another trial or a damaged checkpoint or cannot be written; the loss became nan or
            infinite (the last good checkpoint stays); the device's memory does not hold a batch (what would fit is
            found out and named); the network does not fit the data; a part of the data is empty; the processes cannot
            share the batch, or one of them ended; a process that reads images was killed; the machine cannot do what
            the recipe asks for; a logger is unknown or not installed.
    """
    task: Task = Classification(data) if isinstance(data, Splits) else data
    task.check(recipe)
    check_loggers(loggers)
    with engine(recipe) as accelerator, stop_requests() as request:
        device = accelerator.device
        ranks = Ranks(accelerator.process_index, accelerator.num_processes, device)
        check_batch(recipe, ranks)
        folder = Path(folder)
        chance = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with ranks.together(), chance:
            ranks.alone(lambda: make_folder(folder))
            trial = Trial(model, task, recipe, seed, folder, accelerator, ranks)
            trial.resume()
            if len(trial.history) < recipe.epochs:
                run = _Run(trial, accelerator, request)
                with out_of_memory(run.words):
                    run.go(on_epoch, progress, loggers, folder)
            with out_of_memory(lambda: (f"at the test images, batch of {recipe.batch_size}", SMALLER)):
                trained = trial.finish()
            if ranks.any(bool(request.name)):
                fix = "the same call gives the result"
                raise Stopped(f"train: stopped by {request.name or _ELSEWHERE} after the last epoch", fix=fix)
    return trained


_ELSEWHERE = "a signal to another process"


class _Run:
    """The epochs that are left of a trial."""

    def __init__(self, trial: Trial, accelerator: Any, request: StopRequest) -> None:
        self._trial, self._request, self._device = trial, request, accelerator.device
        self._recipe, self._ranks, self._task = trial.recipe, trial.ranks, trial.task
        name, kind = self._task.name, self._device.type
        with out_of_memory(lambda: (f"at moving the images of '{name}' to the {kind}", "fewer (limit=)")):
            self._feed = self._task.feed(self._recipe, trial.seed, self._ranks, self._device)
            self._validation = self._task.part("validation", self._device)
        size = self._recipe.batch_size // (self._ranks.world * self._recipe.accumulate)
        forward = self._task.forward(trial.model, self._recipe, self._device, size)
        self._stepper = Stepper(forward, trial.optimiser, self._recipe, self._ranks, accelerator)
        self._epoch, self._training = len(trial.history) + 1, True

    def words(self) -> tuple[str, str]:
        """Where it is, and what to do if memory ends there."""
        where = f"at epoch {self._epoch}, batch of {self._recipe.batch_size}"
        if not self._training:
            return where, SMALLER
        return where, smaller_batch(self._recipe, self._ranks.world, self._stepper.rehearse)

    def go(self, on_epoch: Callable[[Any], None] | None, progress: bool, loggers: Sequence[str], folder: Path) -> None:
        """Trains, validates and keeps one epoch after another."""
        trial, recipe, first, done = self._trial, self._recipe, self._ranks.first, len(self._trial.history)
        with (
            synchronised(trial.model, self._ranks, self._device) if recipe.sync_norm else nullcontext(),
            logging(loggers if first else (), folder, recipe, trial.seed, done) as log,
            ProgressLine(folder.name, recipe.epochs, self._feed.steps, done=done, shown=progress and first) as line,
        ):
            self._stepper.prepare()
            for self._epoch in range(done + 1, recipe.epochs + 1):
                self._training = True
                peak_bytes(self._device)  # counted anew from here
                self._train(line)
                self._training = False
                finished = self._validate(peak_bytes(self._device))
                trial.keep(finished)
                if first:
                    log(finished)
                    if on_epoch is not None:
                        on_epoch(finished)

    def _train(self, line: ProgressLine) -> None:
        """The steps that are left of the epoch."""
        trial, position, tally, steps = self._trial, self._trial.position, self._trial.position.tally, self._feed.steps
        trial.model.train()
        start = time.perf_counter() - position.seconds
        batches = self._feed.epoch(self._epoch, first_step=position.step)
        for step in range(position.step + 1, steps + 1):
            batch = self._next(batches, step, start)
            seed = seed_of("network", trial.seed, self._epoch, step, self._ranks.rank)
            self._stepper.take(batch, lr=self._lr(step), seed=seed, tally=tally)
            trial.after_step()
            position.step = step
            stopping = self._stopping(step)
            if stopping or step == steps or step % _STEPS_BETWEEN_LOOKS == 0:
                self._look()
                position.seconds = time.perf_counter() - start
                speed = tally.images / position.seconds
                line.show(self._epoch, step, loss=tally.loss, noted=self._task.words(tally.noted), speed=speed)
            if stopping:
                self._stop()

    def _next(self, batches: Iterator[Batch], step: int, start: float) -> Batch:
        """The batch of ``step``, and the time that it was waited for."""
        position, asked = self._trial.position, time.perf_counter()
        try:
            return next_batch(batches, self._task.name, f"epoch {self._epoch}, step {step} of {self._feed.steps}")
        except RunError:
            if self._request.name and self._ranks.world == 1:  # the signal went to the processes that read images too
                self._look()
                position.seconds = asked - start
                self._stop()
            raise
        finally:
            position.waiting += time.perf_counter() - asked

    def _lr(self, step: int) -> float:
        return self._recipe.lr_at((self._epoch - 1 + (step - 0.5) / self._feed.steps) / self._recipe.epochs)

    def _look(self) -> None:
        bad = self._trial.position.tally.read()
        if bad is not None:
            raise _diverged(f"train: the loss became {bad[1]} at epoch {self._epoch}, step {bad[0]}")

    def _stopping(self, step: int) -> bool:
        """Whether a signal came to one of the processes; several ask each other only now and then."""
        if self._ranks.world == 1:
            return bool(self._request.name)
        due = step % _STEPS_BETWEEN_AGREEMENTS == 0 or step == self._feed.steps
        return due and self._ranks.any(bool(self._request.name))

    def _stop(self) -> None:
        self._trial.keep_position()
        raise Stopped(
            f"train: stopped by {self._request.name or _ELSEWHERE} at epoch {self._epoch}, "
            f"after step {self._trial.position.step} of {self._feed.steps}",
            fix="the same call goes on from there",
        )

    def _validate(self, peak: int | None) -> Measured:
        """The epoch with what the validation images say of it."""
        position, tally = self._trial.position, self._trial.position.tally
        found = self._trial.evaluate(self._validation)
        if not math.isfinite(found.loss):
            raise _diverged(f"train: the validation loss became {found.loss} after epoch {self._epoch}")
        common = dict(
            epoch=self._epoch,
            lr=self._lr(self._feed.steps),
            train_loss=tally.loss,
            seconds=position.seconds,
            images_per_second=tally.images / position.seconds,
            waiting=position.waiting / position.seconds,
            peak_bytes=peak,
        )
        return self._task.measured(tally.noted, found, common)


def _diverged(rule: str) -> RunError:
    fix = "a lower lr, warmup_epochs, clip_norm, or precision='fp32'; the checkpoint before it stays"
    return RunError(rule, fix=fix)
