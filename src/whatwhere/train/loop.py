"""Training one network once: epochs, validation, checkpoints, and one look at the test images."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.data import Augment, ImageSet, Splits, batches
from whatwhere.errors import RunError, first_line
from whatwhere.train.checkpoint import (
    Checkpoint,
    check_network,
    check_trial,
    load_checkpoint,
    load_weights,
    pack_weights,
    save_checkpoint,
)
from whatwhere.train.engine import engine
from whatwhere.train.evaluate import Evaluation, check_logits, evaluate, network_input
from whatwhere.train.files import make_folder, settle, sweep, write_atomically
from whatwhere.train.metrics import Epoch, append_epoch, best_of, write_epochs
from whatwhere.train.optimiser import build_optimiser
from whatwhere.train.progress import ProgressLine
from whatwhere.train.recipe import Recipe
from whatwhere.train.tally import Tally

__all__ = ["Trained", "train"]

_STEPS_BETWEEN_LOOKS = 20
_EVALUATED = 500
_SMALLER = "a smaller batch_size; finished epochs stay"


@dataclass(frozen=True)
class Trained:
    """What came of a trial.

    Args:
        test_accuracy: fraction of the test images right, by the weights of the best epoch; likewise ``test_loss``.
        test_loss: mean cross-entropy.
        best_epoch: the first of highest validation accuracy, from 1.
        validation_accuracy: of that epoch.
        epochs: trained.
        train_seconds: of all epochs, evaluation and writing not counted, interruptions neither.
        images_per_second: training images by those seconds.
    """

    test_accuracy: float
    test_loss: float
    best_epoch: int
    validation_accuracy: float
    epochs: int
    train_seconds: float
    images_per_second: float


def train(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: bool = True,
) -> Trained:
    """Trains ``model`` in place, or goes on where an earlier, broken-off call of the same trial stopped.

    ``folder`` gets ``metrics.jsonl`` (a line an epoch), ``checkpoint.pt`` (after each epoch) and ``best.safetensors``
    (the weights of the epoch that did best on the validation images). Killed at any moment, the same call ends where
    the uninterrupted one would have: on a CPU with as many threads, bit for bit. All chance comes from ``seed`` and the
    epoch's number; the caller's random numbers are left as they were.

    Args:
        model: initialised by the caller, the same way for each call. Left in eval mode with the best epoch's weights,
            on the device that Accelerate chose (``ACCELERATE_USE_CPU=1`` for the CPU).
        splits: the images, moved to that device as bytes.
        recipe: how to train. An epoch's last batch may be short; one of a single image is left out.
        seed: of the order of the images, their augmentation and the network's own chance (dropout).
        folder: of this trial alone; made when missing.
        on_epoch: called after each epoch trained in this call, its checkpoint written.
        progress: a line on stderr, when that is a terminal.

    Raises:
        RunError: the folder holds another trial or a damaged checkpoint or cannot be written; the loss became nan or
            infinite (the last good checkpoint stays); the device's memory does not hold a batch; the network does not
            fit the data; a part of the data is empty; the machine cannot do the recipe's precision.
    """
    for part in ("train", "validation", "test"):
        if len(getattr(splits, part)) == 0:
            raise RunError(
                f"train: '{splits.name}' has no {part} images", fix="load it with enough images for each part"
            )
    folder = Path(folder)
    make_folder(folder)
    with engine(recipe.precision) as accelerator, _own_chance(accelerator.device):
        trial = _Trial(model, splits, recipe, seed, folder, accelerator)
        trial.resume()
        with ProgressLine(folder.name, recipe.epochs, trial.steps, done=len(trial.history), shown=progress) as line:
            while len(trial.history) < recipe.epochs:
                with _memory(f"at epoch {len(trial.history) + 1}, batch of {recipe.batch_size}", _SMALLER):
                    done = trial.run_epoch(line)
                trial.keep(done)
                if on_epoch is not None:
                    on_epoch(done)
        with _memory(f"at the test images, batch of {recipe.batch_size}", _SMALLER):
            return trial.finish()


@contextmanager
def _own_chance(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def _memory(where: str, fix: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(f"train: out of memory {where}", got=first_line(error), fix=fix) from error


def _seed_of(purpose: str, seed: int, epoch: int) -> int:
    digest = hashlib.blake2b(f"{purpose} {seed} {epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class _Trial:
    """One trial in its folder. `keep` is the moment at which an epoch becomes part of it."""

    def __init__(
        self, model: nn.Module, splits: Splits, recipe: Recipe, seed: int, folder: Path, accelerator: Any
    ) -> None:
        self.splits, self.recipe, self.seed, self.accelerator = splits, recipe, seed, accelerator
        # moved here and not by accelerator.prepare, which would leave an autocasting forward on the caller's model
        model.to(accelerator.device)
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)
        self.model = model
        self.optimiser = accelerator.prepare_optimizer(build_optimiser(model, recipe))
        with _memory(f"at moving the images of '{splits.name}' to the {accelerator.device.type}", "fewer (limit=)"):
            self.train_images = splits.train.to(accelerator.device)
            self.validation_images = splits.validation.to(accelerator.device)
        count, size = len(splits.train), recipe.batch_size
        # a last batch of one image would stop a batch norm over (B, C), which has no variance to divide by
        self.used = count - 1 if count > size > 1 and count % size == 1 else count
        self.steps = math.ceil(self.used / size)
        self.history: tuple[Epoch, ...] = ()
        self.best_digest = ""
        self.metrics_path = folder / "metrics.jsonl"
        self.checkpoint_path = folder / "checkpoint.pt"
        self.best_path = folder / "best.safetensors"

    @property
    def identity(self) -> dict[str, Any]:
        sizes = {f"{part}_images": len(getattr(self.splits, part)) for part in ("train", "validation", "test")}
        return {**asdict(self.recipe), "seed": self.seed, "data": self.splits.name, **sizes}

    def resume(self) -> None:
        """Takes up the checkpoint, if there is one, and makes the other files agree with it."""
        for path in (self.metrics_path, self.checkpoint_path, self.best_path):
            sweep(path)
        found = load_checkpoint(self.checkpoint_path)
        if found is not None:
            check_trial(self.checkpoint_path, self.identity, found.trial)
            check_network(self.checkpoint_path, self.model.state_dict(), found.model)
            self.model.load_state_dict(found.model)
            self.optimiser.load_state_dict(found.optimiser)
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(found.scaler)
            self.history, self.best_digest = found.history, found.best_digest
            if best_of(self.history) == self.history[-1]:  # killed before the weights were written, perhaps
                settle(self.best_path, pack_weights(found.model))
        write_epochs(self.metrics_path, self.history)

    def run_epoch(self, line: ProgressLine) -> Epoch:
        """Trains and validates; what is on the disk stays as it is."""
        epoch = len(self.history) + 1
        torch.manual_seed(_seed_of("network", self.seed, epoch))
        generator = torch.Generator().manual_seed(_seed_of("images", self.seed, epoch))
        self.model.train()
        tally = Tally()
        start = time.perf_counter()
        for step, (images, labels) in enumerate(self._batches(generator), start=1):
            lr = self.recipe.lr_at((epoch - 1 + (step - 0.5) / self.steps) / self.recipe.epochs)
            self._step(images, labels, lr, tally)
            if step % _STEPS_BETWEEN_LOOKS == 0:
                self._look(tally, epoch)
                speed = tally.images / (time.perf_counter() - start)
                line.show(epoch, step, loss=tally.loss, accuracy=tally.accuracy, speed=speed)
        self._look(tally, epoch)
        seconds = time.perf_counter() - start
        speed = tally.images / seconds
        line.show(epoch, self.steps, loss=tally.loss, accuracy=tally.accuracy, speed=speed)
        validation = self._evaluate(self.validation_images)
        if not math.isfinite(validation.loss):
            raise _diverged(f"train: the validation loss became {validation.loss} after epoch {epoch}")
        return Epoch(epoch, lr, tally.loss, tally.accuracy, validation.loss, validation.accuracy, seconds, speed)

    def _batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        size = self.recipe.batch_size
        order = torch.randperm(len(self.train_images), generator=generator)[: self.used]
        augment = Augment(self.recipe.padding, self.recipe.flip)
        for images, labels in batches(self.train_images, size, order=order):
            yield augment(images, generator), labels

    def _step(self, images: Tensor, labels: Tensor, lr: float, tally: Tally) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad(set_to_none=True)
        with self.accelerator.autocast():
            logits = self.model(network_input(images, self.splits, channels_last=self.recipe.channels_last))
        check_logits(logits, self.splits)
        logits = logits.float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.accelerator.backward(loss)
        if self.recipe.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimiser.step()
        tally.add(loss, logits, labels)

    def _look(self, tally: Tally, epoch: int) -> None:
        bad = tally.read()
        if bad is not None:
            raise _diverged(f"train: the loss became {bad[1]} at epoch {epoch}, step {bad[0]}")

    def _evaluate(self, images: ImageSet) -> Evaluation:
        with self.accelerator.autocast():
            return evaluate(
                self.model,
                images,
                self.splits,
                channels_last=self.recipe.channels_last,
                batch_size=min(_EVALUATED, 2 * self.recipe.batch_size),  # memory that trains a batch evaluates two
            )

    def keep(self, done: Epoch) -> None:
        """Writes the epoch down; the checkpoint decides, and `resume` mends the other two files by it."""
        history = (*self.history, done)
        state = self.model.state_dict()
        is_best = best_of(history) == done
        weights = pack_weights(state) if is_best else b""
        digest = hashlib.sha256(weights).hexdigest() if is_best else self.best_digest
        scaler = self.accelerator.scaler
        checkpoint = Checkpoint(
            model=dict(state),
            optimiser=self.optimiser.state_dict(),
            scaler={} if scaler is None else scaler.state_dict(),
            history=history,
            trial=self.identity,
            best_digest=digest,
        )
        append_epoch(self.metrics_path, done)
        save_checkpoint(self.checkpoint_path, checkpoint)
        if is_best:
            write_atomically(self.best_path, weights)
        self.history, self.best_digest = history, digest

    def finish(self) -> Trained:
        """Takes the best epoch's weights to the test images."""
        self.model.load_state_dict(load_weights(self.best_path, self.best_digest))
        test = self._evaluate(self.splits.test.to(self.accelerator.device))
        best = best_of(self.history)
        seconds = math.fsum(one.seconds for one in self.history)
        images = math.fsum(one.seconds * one.images_per_second for one in self.history)
        return Trained(
            test_accuracy=test.accuracy,
            test_loss=test.loss,
            best_epoch=best.epoch,
            validation_accuracy=best.validation_accuracy,
            epochs=len(self.history),
            train_seconds=seconds,
            images_per_second=images / seconds,
        )


def _diverged(rule: str) -> RunError:
    fix = "a lower lr, warmup_epochs, clip_norm, or precision='fp32'; the checkpoint before it stays"
    return RunError(rule, fix=fix)
