"""One trial's folder as it was found: finished, on its way, not started, or not to be believed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.experiments import TrialResult, TrialSpec
from whatwhere.experiments.claim import holder
from whatwhere.experiments.result import BrokenResult, read_result

__all__ = ["METRICS", "Trial", "read_trial"]

# The keys of metrics.jsonl that are drawn.
METRICS = ("validation_accuracy", "validation_loss", "train_accuracy", "train_loss")


@dataclass(frozen=True)
class Trial:
    """A trial and what its folder holds.

    Args:
        arm: name of its arm.
        spec: what was to be trained.
        state: "finished", "claimed", "not finished", "not started" or "broken".
        epochs: epoch to metric to value, of the epochs that are on the disk.
        result: of a finished trial.
        gates: what ``diagnose`` found, of a finished trial.
        why: why the result cannot be believed, or who is running the trial.
        remarks: what else is odd about the folder.
    """

    arm: str
    spec: TrialSpec
    state: str
    epochs: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    result: TrialResult | None = None
    gates: tuple[Mapping[str, Any], ...] = ()
    why: str = ""
    remarks: tuple[str, ...] = ()


def read_trial(arm: str, spec: TrialSpec, folder: Path) -> Trial:
    """Read what ``folder`` holds of the trial; nothing in it makes this fail."""
    epochs, remarks = _epochs(folder / "metrics.jsonl")
    other = _other_trial(folder / "trial.json", spec)
    if other:
        remarks = (*remarks, other)
    try:
        result = read_result(folder / "result.json", spec)
    except (BrokenResult, OSError) as error:
        return Trial(arm, spec, "broken", epochs, why=str(error), remarks=remarks)
    if result is not None:
        remarks = (*remarks, *_at_odds(result, epochs))
        return Trial(arm, spec, "finished", epochs, result, _gates(result), remarks=remarks)
    if (folder / "claim.json").exists():
        return Trial(arm, spec, "claimed", epochs, why=f"{holder(folder / 'claim.json')} has it", remarks=remarks)
    return Trial(arm, spec, "not finished" if folder.exists() else "not started", epochs, remarks=remarks)


def _epochs(path: Path) -> tuple[dict[int, dict[str, float]], tuple[str, ...]]:
    """The epochs that can be read, and what is wrong with the file; its last line may be half written."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}, ()
    found: dict[int, dict[str, float]] = {}
    unreadable = []
    for place, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            found[int(entry["epoch"])] = {key: float(entry[key]) for key in METRICS if _is_finite(entry.get(key))}
        except (ValueError, KeyError, TypeError, AttributeError):
            unreadable.append(place)
    if not unreadable:
        return dict(sorted(found.items())), ()
    if unreadable == [len(lines)]:
        return dict(sorted(found.items())), ("the last line of metrics.jsonl is torn",)
    return dict(sorted(found.items())), (f"lines of metrics.jsonl that cannot be read: {len(unreadable)}",)


def _other_trial(path: Path, spec: TrialSpec) -> str:
    try:
        found = json.loads(path.read_bytes())
        there = TrialSpec.from_json({key: found[key] for key in TrialSpec.__dataclass_fields__}).hash
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError, RunError):
        return "trial.json cannot be read"
    return "" if there == spec.hash else f"trial.json is another trial's ({there}, not {spec.hash})"


def _at_odds(result: TrialResult, epochs: Mapping[int, Mapping[str, float]]) -> tuple[str, ...]:
    best = result.best_epoch if isinstance(result.best_epoch, int) else 0
    said, written = result.validation_accuracy, epochs.get(best, {}).get("validation_accuracy")
    if written is None or math.isclose(said, written, abs_tol=1e-9):
        return ()
    return (
        f"result.json says that epoch {best} had a validation accuracy of {said:.4f}, "
        f"metrics.jsonl that it had {written:.4f}",
    )


def _gates(result: TrialResult) -> tuple[Mapping[str, Any], ...]:
    return tuple(gate for gate in result.gates if isinstance(gate, dict) and isinstance(gate.get("site"), str))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
