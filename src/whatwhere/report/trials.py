"""One trial's folder as it was found: finished, on its way, not started, or not to be believed."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.experiments import TrialResult, TrialSpec
from whatwhere.experiments.claim import holder
from whatwhere.experiments.gate_history import read_history
from whatwhere.experiments.measures import MEASURES
from whatwhere.experiments.result import BrokenResult, read_result

__all__ = ["GATE_FIGURES", "METRICS", "Trial", "read_trial"]

# The keys of metrics.jsonl that are drawn.
METRICS = (
    *("validation_accuracy", "validation_loss", "train_accuracy"),
    *("validation_ap", "validation_ap50", "validation_voc07", "train_loss"),
)
# Those of gates.jsonl.
GATE_FIGURES = ("drift", "sd_images")


@dataclass(frozen=True)
class Trial:
    """A trial and what its folder holds.

    Args:
        arm: name of its arm.
        spec: what was to be trained.
        state: "finished", "claimed", "not finished", "not started" or "broken".
        epochs: epoch to metric to value, of the epochs that are on the disk.
        history: site to measure to epoch to value, of the epochs after which the gates were looked at.
        result: of a finished trial.
        gates: what ``diagnose`` found, of a finished trial.
        why: why the result cannot be believed, or who is running the trial.
        remarks: what else is odd about the folder.
    """

    arm: str
    spec: TrialSpec
    state: str
    epochs: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    history: Mapping[str, Mapping[str, Mapping[int, float]]] = field(default_factory=dict)
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
    trial = partial(Trial, arm, spec, epochs=epochs, history=_history(folder, spec.recipe.epochs))
    try:
        result = read_result(folder / "result.json", spec)
    except (BrokenResult, OSError) as error:
        return trial("broken", why=str(error), remarks=remarks)
    if result is not None:
        remarks = (*remarks, *_at_odds(result, epochs))
        return trial("finished", result=result, gates=_sited(result.gates), remarks=remarks)
    if (folder / "claim.json").exists():
        return trial("claimed", why=f"{holder(folder / 'claim.json')} has it", remarks=remarks)
    return trial("not finished" if folder.exists() else "not started", remarks=remarks)


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


def _history(folder: Path, epochs: int) -> dict[str, dict[str, dict[int, float]]]:
    """Sites in the network's order; those whose gate showed no figure are there, with empty measures."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    lines = [line for line in read_history(folder) if 1 <= line["epoch"] <= epochs]
    for line in sorted(lines, key=lambda line: line["epoch"]):
        for gate in _sited(line["gates"]):
            site = found.setdefault(gate["site"], {key: {} for key in GATE_FIGURES})
            for key in GATE_FIGURES:
                if _is_finite(gate.get(key)):
                    site[key][line["epoch"]] = float(gate[key])
    return found


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
    said, written = result.validation_score, epochs.get(best, {}).get(f"validation_{result.measure}")
    if written is None or math.isclose(said, written, abs_tol=1e-9):
        return ()
    return (
        f"result.json says that epoch {best} had a validation {MEASURES[result.measure]} of {said:.4f}, "
        f"metrics.jsonl that it had {written:.4f}",
    )


def _sited(gates: Iterable[Any]) -> tuple[Mapping[str, Any], ...]:
    """What is said of a gate, among whatever stands in a file."""
    return tuple(gate for gate in gates if isinstance(gate, dict) and isinstance(gate.get("site"), str))


def _is_finite(value: Any) -> bool:
    """JSON's whole numbers may be larger than any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
