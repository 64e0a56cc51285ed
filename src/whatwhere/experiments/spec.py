"""What is compared, and the trials that it takes: plain values with a stable hash."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from whatwhere.experiments.arm_names import CONTROLS, YARDSTICK, Start, default_place, parse_arm
from whatwhere.hosts import Stem
from whatwhere.train import Recipe

__all__ = ["Comparison", "TaskName", "TrialSpec"]

TaskName = Literal["classify", "detect"]

# A recipe's fields that the first release had. One added later counts in a spec's hash only where it is not at its
# default, so that trials finished before it came stay finished.
_FIRST_FIELDS = (
    *("epochs", "batch_size", "optimiser", "lr", "momentum", "nesterov", "weight_decay", "schedule", "warmup_epochs"),
    *("milestones", "gamma", "label_smoothing", "precision", "channels_last", "padding", "flip", "clip_norm"),
)


@dataclass(frozen=True)
class TrialSpec:
    """One training of one host with one gate and one seed; equal specs give the same result on the same machine.

    Args:
        host: the host's name.
        stem: "small" or "standard".
        gate: a gate string, "none" for the bare host, or a control with its options (``arm_names``).
        at: where the gate goes; None for the bare host, and for hosts made wider or deeper.
        start: "preset", "identity" or "frozen".
        data: the data set's name.
        limit: training images kept, None for all.
        image_size: side to which images are brought, None for their own.
        split_seed: seed of the split into training and validation.
        seed: seed of the host's weights, the gate's and the order of the images.
        recipe: how it is trained.
        task: "classify" or "detect".
    """

    host: str
    stem: Stem
    gate: str
    at: str | None
    start: Start
    data: str
    limit: int | None
    image_size: int | None
    split_seed: int
    seed: int
    recipe: Recipe
    task: TaskName = "classify"

    def to_json(self) -> dict[str, Any]:
        """The dictionary that JSON gives back, with lists for tuples; ``from_json`` is its inverse."""
        return _plain(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TrialSpec":
        """Rebuild a spec from ``to_json``'s dictionary, before or after a trip through a file.

        Raises:
            TypeError, KeyError, RunError: the dictionary is not a spec's.
        """
        return cls(**{**value, "recipe": Recipe(**value["recipe"])})

    @property
    def hash(self) -> str:
        """The first 8 hex digits of the SHA-256 of the canonical JSON; 1 and 1.0 are one number."""
        plain = self.to_json()
        usual = Recipe()
        plain["recipe"] = {
            key: part
            for key, part in plain["recipe"].items()
            if key in _FIRST_FIELDS or getattr(self.recipe, key) != getattr(usual, key)
        }
        if self.task == "classify":  # as the first releases knew nothing else
            del plain["task"]
        text = json.dumps(_canonical(plain), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """The trial's folder: gate (made safe for file systems), seed and hash."""
        gate = re.sub(r"[^A-Za-z0-9._+=]+", "-", self.gate).strip("-.")[:80]
        return f"{gate}-seed{self.seed}-{self.hash}"


@dataclass(frozen=True)
class Comparison:
    """A host with several gates, each trained with the same seeds.

    Args:
        host: the host's name.
        gates: names of arms (``parse_arm``), "none" among them: the yardstick for all others.
        data: the data set's name.
        seeds: number of seeds, 0 to ``seeds - 1``.
        recipe: how every trial is trained.
        at: one place for all gates whose name says none; None puts each at its own (``default_place``).
        start: how all gates start whose name does not say.
        stem: "small" or "standard"; None is small for images up to 64 pixels where the host can have it.
        limit: training images kept, None for all.
        image_size: side to which images are brought, None for their own.
        split_seed: seed of the split into training and validation.
        task: "classify" images, or "detect" objects in them: ``host`` is then a detector's name.
    """

    host: str
    gates: tuple[str, ...]
    data: str
    seeds: int = 3
    recipe: Recipe = field(default_factory=Recipe)
    at: str | None = None
    start: Start = "preset"
    stem: Stem | None = None
    limit: int | None = None
    image_size: int | None = None
    split_seed: int = 0
    task: TaskName = "classify"

    def to_json(self) -> dict[str, Any]:
        """The dictionary that JSON gives back, with lists for tuples."""
        return _plain(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Comparison":
        """Rebuild a comparison from ``to_json``'s dictionary, whatever else is in it.

        Raises:
            TypeError, KeyError, RunError: the dictionary is not a comparison's.
        """
        known = {key: value[key] for key in cls.__dataclass_fields__ if key in value}
        return cls(**{**known, "gates": tuple(value["gates"]), "recipe": Recipe(**value["recipe"])})

    def setting(self) -> dict[str, Any]:
        """What all trials of one folder share, flat; gates, their places and the number of seeds may grow."""
        free = {"gates", "at", "start", "seeds"}
        flat = {key: part for key, part in self.to_json().items() if key not in free}
        recipe = flat.pop("recipe")
        return {**flat, **{f"recipe.{key}": part for key, part in recipe.items()}}

    def trials(self) -> Sequence[TrialSpec]:
        """All trials, seed by seed, so that a comparison that is broken off has the same seeds in every arm."""
        return [self.trial(arm, seed) for seed in range(self.seeds) for arm in self.gates]

    def trial(self, arm: str, seed: int) -> TrialSpec:
        """The trial of one arm and one seed; one without a gate does not depend on where gates would go.

        Raises:
            RunError: the name is no arm's; GateError: an unknown gate or option, when no place is given.
        """
        named = parse_arm(arm)
        gated = named.gate not in (YARDSTICK, *CONTROLS)
        return TrialSpec(
            host=self.host,
            stem=self.stem or "small",
            gate=named.gate if named.parameters is None else arm,
            at=named.at or (self.at if gated else None) or default_place(named.gate),
            start=(named.start or self.start) if gated else "preset",
            data=self.data,
            limit=self.limit,
            image_size=self.image_size,
            split_seed=self.split_seed,
            seed=seed,
            recipe=self.recipe,
            task=self.task,
        )


def _plain(spec: "TrialSpec | Comparison") -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return plain


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
