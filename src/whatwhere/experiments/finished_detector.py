"""A detector that a finished trial left behind, ready to be used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from whatwhere.errors import RunError
from whatwhere.experiments.detecting import build_detector
from whatwhere.experiments.finished import trial_result, trial_spec, trial_weights
from whatwhere.experiments.result import TrialResult

__all__ = ["FinishedDetector", "open_detector"]


@dataclass(frozen=True, eq=False)
class FinishedDetector:
    """A trial's detector with the weights of its best epoch, in eval mode, on the CPU.

    Attributes:
        name: of the trial.
        model: with its gates.
        classes: the name of each label.
        categories: the number that the training data's publishers give each class.
        result: of the trial.
    """

    name: str
    model: nn.Module
    classes: tuple[str, ...]
    categories: tuple[int, ...]
    result: TrialResult


def open_detector(folder: Path, call: str) -> FinishedDetector:
    """Build the detector of a finished trial and load its weights; nothing is downloaded and no data are needed.

    Args:
        folder: what ``detect train``, ``compare`` or ``reproduce`` made for one trial.
        call: the call as the user wrote it, for messages.

    Raises:
        RunError: the folder is no finished trial's of a detector, or its files do not belong together.
        HostError, AttachError, GateError: the detector cannot be built here.
    """
    spec = trial_spec(folder, call)
    result = trial_result(folder, spec, call)
    if result.detection is None:
        raise RunError(
            f"{call}: the trial is a classifier's", got=spec.host, fix="whatwhere pack and explain are for those"
        )
    per_class: Mapping[str, Mapping[str, Any]] = result.detection["per_class"]
    model = build_detector(spec, len(per_class), weights=False).model
    model.load_state_dict(trial_weights(folder, model.state_dict(), call))
    categories = tuple(one["category"] for one in per_class.values())
    return FinishedDetector(spec.name, model.eval(), tuple(per_class), categories, result)
