"""What is known of each epoch, as records and as lines of ``metrics.jsonl``."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from whatwhere.errors import RunError
from whatwhere.train.files import settle, written

__all__ = ["EpochRecord", "append_record", "best_of", "read_records", "write_records"]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, counted from 1.

    Args:
        epoch: its number.
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


def best_of(history: Sequence[EpochRecord]) -> EpochRecord:
    """The epoch of highest validation accuracy, the first where several are."""
    return max(history, key=lambda record: record.validation_accuracy)


def _line(record: EpochRecord) -> bytes:
    return json.dumps(asdict(record), allow_nan=False).encode() + b"\n"


def append_record(path: Path, record: EpochRecord) -> None:
    """Adds one line and has it on the disk before returning.

    Raises:
        RunError: the system refuses.
    """
    with written(path), open(path, "ab") as file:
        file.write(_line(record))
        file.flush()
        os.fsync(file.fileno())


def write_records(path: Path, history: Sequence[EpochRecord]) -> None:
    """Has the file hold one line for each record and no more.

    Raises:
        RunError: the system refuses.
    """
    settle(path, b"".join(map(_line, history)))


def read_records(path: Path) -> tuple[EpochRecord, ...]:
    """The records of a ``metrics.jsonl``; a last line that is still being written is left out.

    Raises:
        RunError: the file cannot be read, or a line is no record.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"read_records('{path}'): cannot read the file", got=str(error)) from error
    records = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            records.append(EpochRecord(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise RunError(f"read_records('{path}'): line {number} is no record of an epoch", got=line[:80]) from error
    return tuple(records)
