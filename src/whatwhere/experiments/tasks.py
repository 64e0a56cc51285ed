"""What can be compared: classifiers and detectors, each asked the same things."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from whatwhere.experiments.arms import Arm
from whatwhere.experiments.classifying import Classifying
from whatwhere.experiments.detecting import Detecting
from whatwhere.experiments.spec import Comparison, TrialSpec
from whatwhere.train import Recipe

__all__ = ["Kind", "kind_of"]


class Kind(Protocol):
    """What a comparison asks of one task's data and networks; ``Classifying`` says what each answer is."""

    def measures(self, splits: Any) -> tuple[str, ...]: ...

    def load(self, comparison: Comparison, root: Path | None) -> Any: ...

    def settled(self, comparison: Comparison, splits: Any) -> Comparison: ...

    def build(self, spec: TrialSpec, splits: Any) -> Arm: ...

    def dense(self, model: nn.Module, splits: Any) -> tuple[nn.Module, tuple[int, int, int]]: ...

    def learnt(self, spec: TrialSpec, splits: Any, model: nn.Module) -> Any: ...

    def outcome(self, trained: Any) -> dict[str, Any]: ...

    def shown(self, model: nn.Module, splits: Any, recipe: Recipe, count: int) -> tuple[Any, Tensor | None]: ...

    def seen_by_gates(self, model: nn.Module, splits: Any, recipe: Recipe) -> tuple[Mapping[str, Any], ...]: ...


def kind_of(task: str) -> Kind:
    """``"classify"`` or ``"detect"``."""
    return Detecting() if task == "detect" else Classifying()
