"""What is compared, and the trials that it takes: plain values with a stable hash."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from whatwhere.train import Recipe

__all__ = ["YARDSTICK", "Comparison", "TrialSpec", "default_place"]

YARDSTICK = "none"
_PLACES = {"bam": "bottlenecks", "cbam": "blocks", "se": "blocks"}


def default_place(gate: str) -> str:
    """Where a gate string's paper puts the gate: "bottlenecks" for BAM, "blocks" for CBAM and SE, else "bottlenecks"."""
    return _PLACES.get(gate.split(":")[0], "bottlenecks")


@dataclass(frozen=True)
class TrialSpec:
    """One training of one host with one gate and one seed; equal specs give the same result on the same machine.

    Args:
        host: the host's name.
        stem: "small" or "standard".
        gate: a gate string, or "none" for the bare host.
        at: where the gate goes; None for the bare host.
        start: "preset" or "identity".
        data: the data set's name.
        limit: training images kept, None for all.
        image_size: side to which images are brought, None for their own.
        split_seed: seed of the split into training and validation.
        seed: seed of the host's weights, the gate's and the order of the images.
        recipe: how it is trained.
    """

    host: str
    stem: str
    gate: str
    at: str | None
    start: str
    data: str
    limit: int | None
    image_size: int | None
    split_seed: int
    seed: int
    recipe: Recipe

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; ``from_json`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TrialSpec":
        """Rebuild a spec from ``to_json``'s dictionary, before or after a trip through a file.

        Raises:
            TypeError, KeyError, ValueError: the dictionary is not a spec's.
        """
        recipe = {key: tuple(part) if isinstance(part, list) else part for key, part in value["recipe"].items()}
        return cls(**{**value, "recipe": Recipe(**recipe)})

    @property
    def hash(self) -> str:
        """The first 8 hex digits of the SHA-256 of the canonical JSON; 1 and 1.0 are one number."""
        text = json.dumps(_canonical(self.to_json()), sort_keys=True, separators=(",", ":"))
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
        gates: gate strings, "none" among them: the yardstick for all others.
        data: the data set's name.
        seeds: number of seeds, 0 to ``seeds - 1``.
        recipe: how every trial is trained.
        at: one place for all gates; None puts each at its own (``default_place``).
        start: "preset" or "identity".
        stem: "small" or "standard".
        limit: training images kept, None for all.
        image_size: side to which images are brought, None for their own.
        split_seed: seed of the split into training and validation.
    """

    host: str
    gates: tuple[str, ...]
    data: str
    seeds: int = 3
    recipe: Recipe = field(default_factory=Recipe)
    at: str | None = None
    start: str = "preset"
    stem: str = "small"
    limit: int | None = None
    image_size: int | None = None
    split_seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return {**asdict(self), "gates": list(self.gates)}

    def setting(self) -> dict[str, Any]:
        """What all trials of one folder share, flat; gates, their places and the number of seeds may grow."""
        free = {"gates", "at", "start", "seeds"}
        flat = {key: part for key, part in self.to_json().items() if key not in free and key != "recipe"}
        return {**flat, **{f"recipe.{each.name}": getattr(self.recipe, each.name) for each in fields(self.recipe)}}

    def trials(self) -> Sequence[TrialSpec]:
        """All trials, seed by seed, so that a comparison that is broken off has the same seeds in every arm."""
        return [self.trial(gate, seed) for seed in range(self.seeds) for gate in self.gates]

    def trial(self, gate: str, seed: int) -> TrialSpec:
        """The trial of one arm and one seed; the bare host's does not depend on where gates would go."""
        bare = gate == YARDSTICK
        return TrialSpec(
            host=self.host,
            stem=self.stem,
            gate=gate,
            at=None if bare else self.at or default_place(gate),
            start="preset" if bare else self.start,
            data=self.data,
            limit=self.limit,
            image_size=self.image_size,
            split_seed=self.split_seed,
            seed=seed,
            recipe=self.recipe,
        )


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
