"""What a finished trial leaves behind, and whether a file really is that."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.experiments.atomic import write_json
from whatwhere.experiments.spec import TrialSpec

__all__ = ["BrokenResult", "TrialResult", "read_result", "write_result"]


_NUMBERS = (
    ("test_accuracy", 0, 1),
    ("validation_accuracy", 0, 1),
    ("parameters", 0, math.inf),
    ("macs", 0, math.inf),
    ("bytes_kept", 0, math.inf),
    ("seconds", 0, math.inf),
)


class BrokenResult(Exception):
    """A result file that cannot be believed; the text says why. The trial is done again from its checkpoint."""


@dataclass(frozen=True)
class TrialResult:
    """One finished trial.

    Accuracies are shares in 0..1; costs as in ``ArmCost``; ``test_loss`` is None when it was not finite; ``seconds`` is
    the wall time of the process that finished the trial.
    """

    spec: TrialSpec
    sites: tuple[str, ...]
    test_accuracy: float
    test_loss: float | None
    validation_accuracy: float
    best_epoch: int
    epochs: int
    train_seconds: float
    images_per_second: float
    parameters: int
    macs: int
    bytes_kept: int
    seconds: float
    environment: Mapping[str, Any]


def write_result(path: Path, result: TrialResult) -> None:
    """Write the result, its name and its spec's hash as JSON, whole or not at all."""
    write_json(path, {"format": 1, "name": result.spec.name, "hash": result.spec.hash, **asdict(result)})


def read_result(path: Path, spec: TrialSpec) -> TrialResult | None:
    """Read a result; None when there is no file.

    Raises:
        BrokenResult: the file is not JSON, lacks or mistypes a field, or is another spec's.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        kept = {key: found[key] for key in TrialResult.__dataclass_fields__}
        written = TrialSpec.from_json(kept["spec"])
        result = TrialResult(**{**kept, "spec": written, "sites": tuple(kept["sites"])})
    except (ValueError, KeyError, TypeError, RunError) as error:
        raise BrokenResult(f"it cannot be read ({type(error).__name__}: {error})") from error
    if written.hash != spec.hash or found.get("hash") != spec.hash:
        raise BrokenResult(f"it is the result of another trial ({found.get('hash')}, not {spec.hash})")
    for name, low, high in _NUMBERS:
        value = getattr(result, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BrokenResult(f"its {name} is {value!r}")
    return result
