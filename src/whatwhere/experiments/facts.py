"""What is known of every arm without training it: sites, counted cost, measured time."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from whatwhere.cost import Latency, latency
from whatwhere.data import Splits
from whatwhere.experiments.arms import Arm, ArmCost
from whatwhere.experiments.environment import device
from whatwhere.train import Recipe

__all__ = ["ArmFacts", "arm_facts"]

# One timed forward: at most so many images and, on a CPU, about so many multiply-accumulates.
_BATCH = 32
_MACS = 4_000_000_000


@dataclass(frozen=True)
class ArmFacts:
    """An arm's sites, its cost per image, and the time of one forward of ``batch`` images; None if not measured."""

    sites: tuple[str, ...]
    cost: ArmCost
    latency: Latency | None
    batch: int


def arm_facts(
    arms: Mapping[str, Arm], costs: Mapping[str, ArmCost], splits: Splits, recipe: Recipe, *, timed: bool
) -> dict[str, ArmFacts]:
    """Facts of all arms; when ``timed``, they are moved to the device and their forwards measured, interleaved.

    Args:
        arms: by gate.
        costs: likewise.
        splits: for the images' shape.
        recipe: for the batch, at most, and the memory format.
        timed: whether to measure.
    """
    batch = min(_BATCH, recipe.batch_size)
    if device().type == "cpu":
        batch = max(1, min(batch, _MACS // max(1, *(cost.macs for cost in costs.values()))))
    times = _times(arms, splits, recipe, batch) if timed else {}
    return {gate: ArmFacts(arm.sites, costs[gate], times.get(gate), batch) for gate, arm in arms.items()}


def _times(arms: Mapping[str, Arm], splits: Splits, recipe: Recipe, batch: int) -> dict[str, Latency]:
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    shape = (batch, *splits.train.shape)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device(), memory_format=layout)
    for arm in arms.values():
        arm.model.to(device(), memory_format=layout)  # type: ignore[call-overload]
    return latency({gate: arm.model for gate, arm in arms.items()}, images)
