"""What is known of each epoch, and the lines of ``metrics.jsonl`` and ``metrics.csv`` that say it."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from whatwhere.train.files import settle, written
from whatwhere.train.task import Measured

__all__ = ["LINES", "ROWS", "Epoch", "Trained", "append_epoch", "best_of", "write_epochs"]

LINES = "metrics.jsonl"
ROWS = "metrics.csv"


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
        seconds: of training; evaluation, writing and compiling are not in it.
        images_per_second: training images, of all processes, by ``seconds``.
        waiting: the fraction of ``seconds`` that the step waited for its images; None in files of earlier versions.
        peak_bytes: the most memory in use, on a GPU by tensors during the epoch, on a CPU by the process since it
            began; of the first process. None where it is not known.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    images_per_second: float
    waiting: float | None = None
    peak_bytes: int | None = None

    @property
    def score(self) -> float:
        """What the best epoch is chosen by."""
        return self.validation_accuracy


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
        test_top5: fraction of the test images whose label is among the five of highest logit.
        waiting: fraction of ``train_seconds`` spent waiting for images; None where an epoch did not say.
        peak_bytes: the most memory an epoch used (``Epoch.peak_bytes``); likewise.
    """

    test_accuracy: float
    test_loss: float
    best_epoch: int
    validation_accuracy: float
    epochs: int
    train_seconds: float
    images_per_second: float
    test_top5: float | None = None
    waiting: float | None = None
    peak_bytes: int | None = None


def best_of(history: Sequence[Measured]) -> Any:
    """The epoch of highest score, the first where several are."""
    return max(history, key=lambda one: one.score)


def _line(one: Measured) -> bytes:
    return json.dumps(asdict(one), allow_nan=False).encode() + b"\n"


def _header(kind: type[Any]) -> bytes:
    return ",".join(field.name for field in fields(kind)).encode() + b"\n"


def _row(one: Measured) -> bytes:
    return ",".join("" if value is None else repr(value) for value in asdict(one).values()).encode() + b"\n"


def append_epoch(folder: Path, one: Measured) -> None:
    """Adds one line to either file and has it on the disk before returning.

    Raises:
        RunError: the system refuses.
    """
    for name, line in ((LINES, _line(one)), (ROWS, _row(one))):
        with written(folder / name), open(folder / name, "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def write_epochs(folder: Path, history: Sequence[Measured], kind: type[Any]) -> None:
    """Has either file hold one line for each epoch, a ``kind``, and no more.

    Raises:
        RunError: the system refuses.
    """
    settle(folder / LINES, b"".join(map(_line, history)))
    settle(folder / ROWS, _header(kind) + b"".join(map(_row, history)))
