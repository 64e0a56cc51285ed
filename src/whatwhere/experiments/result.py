"""What a finished trial leaves behind, and whether a file really is that."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.experiments.atomic import write_json
from whatwhere.experiments.spec import TrialSpec

__all__ = ["BrokenResult", "TrialResult", "read_result", "write_result"]

_NUMBERS = (
    ("parameters", 0, math.inf),
    ("macs", 0, math.inf),
    ("bytes_kept", 0, math.inf),
    ("seconds", 0, math.inf),
    ("peak_bytes", 0, math.inf),
    ("waiting", 0, 1),
    ("test_top5", 0, 1),
)
_ACCURACIES = (("test_accuracy", 0, 1), ("validation_accuracy", 0, 1))
_SCORES = (("score", 0, 1), ("validation_score", 0, 1))
_MAY_BE_MISSING = ("peak_bytes", "waiting", "test_top5")


class BrokenResult(Exception):
    """A result file that cannot be believed; the text says why. The trial is done again from its checkpoint."""


@dataclass(frozen=True)
class TrialResult:
    """One finished trial.

    Accuracies are shares in 0..1; costs as in ``ArmCost``; ``test_loss`` is None when it was not finite; ``seconds`` is
    the wall time of the process that finished the trial; ``gates`` has what each gate did to a batch of validation
    images (``diagnose``); ``peak_bytes``, ``waiting`` and ``test_top5`` are as in ``Trained``. The last four are empty
    in files that are older than they.

    Of a detector, ``detection`` has the name of its ``score``, that score on the ``validation`` images, all measures of
    the ``test`` images (``detect.numbers``) and, ``per_class``, those of each class; it has no accuracies.
    """

    spec: TrialSpec
    sites: tuple[str, ...]
    best_epoch: int
    epochs: int
    train_seconds: float
    images_per_second: float
    parameters: int
    macs: int
    bytes_kept: int
    seconds: float
    environment: Mapping[str, Any]
    test_accuracy: float | None = None
    test_loss: float | None = None
    validation_accuracy: float | None = None
    detection: Mapping[str, Any] | None = None
    gates: tuple[Mapping[str, Any], ...] = ()
    peak_bytes: int | None = None
    waiting: float | None = None
    test_top5: float | None = None

    @property
    def measure(self) -> str:
        """What arms are compared by: "accuracy", "ap" (COCO's) or "voc07" (mean AP by VOC2007's rule)."""
        return "accuracy" if self.detection is None else str(self.detection["score"])

    @property
    def measures(self) -> Mapping[str, float | None]:
        """All measures of the test images, in 0..1."""
        if self.detection is None:
            return {"accuracy": self.test_accuracy, "top5": self.test_top5}
        found: Mapping[str, float | None] = self.detection["test"]
        return found

    @property
    def score(self) -> float:
        """That measure of the test images, in 0..1."""
        return _number(self.measures[self.measure])

    @property
    def validation_score(self) -> float:
        """That measure of the validation images, after the best epoch."""
        return _number(self.validation_accuracy if self.detection is None else self.detection["validation"])


def _number(value: float | None) -> float:
    assert value is not None  # read_result lets no other through
    return value


def write_result(path: Path, result: TrialResult) -> None:
    """Write the result, its name, its spec's hash and a digest of it all as JSON, whole or not at all."""
    content = {"format": 1, "name": result.spec.name, "hash": result.spec.hash, **asdict(result)}
    write_json(path, {**content, "digest": _digest(content)})


def read_result(path: Path, spec: TrialSpec) -> TrialResult | None:
    """Read a result; None when there is no file.

    Raises:
        BrokenResult: the file is not JSON, lacks or mistypes a field, is another spec's, or was changed since it was
            written; files without a digest, as the first release wrote them, cannot tell the last.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        names = [field.name for field in fields(TrialResult) if field.default is MISSING or field.name in found]
        kept = {name: found[name] for name in names}
        written = TrialSpec.from_json(kept.pop("spec"))
        lists: dict[str, Any] = {name: tuple(kept.pop(name)) for name in ("sites", "gates") if name in kept}
        result = TrialResult(spec=written, **lists, **kept)
    except (ValueError, KeyError, TypeError, RunError) as error:
        raise BrokenResult(f"it cannot be read ({type(error).__name__}: {error})") from error
    if written.hash != spec.hash or found.get("hash") != spec.hash:
        raise BrokenResult(f"it is the result of another trial ({found.get('hash')}, not {spec.hash})")
    for name, low, high in (*(_ACCURACIES if written.task == "classify" else _SCORES), *_NUMBERS):
        try:
            value = getattr(result, name)
        except (AssertionError, KeyError, TypeError) as error:
            raise BrokenResult(f"its {name} cannot be read ({type(error).__name__}: {error})") from error
        if value is None and name in _MAY_BE_MISSING:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BrokenResult(f"its {name} is {value!r}")
    digest = found.pop("digest", None)
    if digest not in (None, _digest(found)):
        raise BrokenResult("it was changed after it had been written")
    return result


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON; what went through a file gives what it gave before."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
