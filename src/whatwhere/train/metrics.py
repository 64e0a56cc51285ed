"""What is known of each epoch, and the lines of ``metrics.jsonl`` that say it."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from whatwhere.train.files import settle, written

__all__ = ["Epoch", "append_epoch", "best_of", "write_epochs"]


@dataclass(frozen=True)
class Epoch:
    """One epoch and how it went.

    Args:
        epoch: its number, counted from 1.
        lr: the learning rate of its last step.
        train_loss: mean over the images as they were trained on, label smoothing included; accuracies are fractions.
        train_accuracy: likewise.
        validation_loss: mean cross-entropy after the epoch, in eval mode; likewise ``validation_accuracy``.
        validation_accuracy: likewise.
        seconds: of training; evaluation and writing are not in it.
        images_per_second: training images by ``seconds``.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    images_per_second: float


def best_of(history: Sequence[Epoch]) -> Epoch:
    """The epoch of highest validation accuracy, the first where several are."""
    return max(history, key=lambda one: one.validation_accuracy)


def _line(one: Epoch) -> bytes:
    return json.dumps(asdict(one), allow_nan=False).encode() + b"\n"


def append_epoch(path: Path, one: Epoch) -> None:
    """Adds one line and has it on the disk before returning.

    Raises:
        RunError: the system refuses.
    """
    with written(path), open(path, "ab") as file:
        file.write(_line(one))
        file.flush()
        os.fsync(file.fileno())


def write_epochs(path: Path, history: Sequence[Epoch]) -> None:
    """Has the file hold one line for each epoch and no more.

    Raises:
        RunError: the system refuses.
    """
    settle(path, b"".join(map(_line, history)))
