"""What is known of every arm without training it: sites, counted cost, measured time."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from whatwhere.cost import Latency, latency
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
    arms: Mapping[str, Arm],
    dense: Mapping[str, tuple[nn.Module, tuple[int, int, int]]],
    costs: Mapping[str, ArmCost],
    recipe: Recipe,
    *,
    timed: bool,
) -> dict[str, ArmFacts]:
    """Facts of all arms; when ``timed``, they are moved to the device and their forwards measured, interleaved.

    Args:
        arms: by gate.
        dense: likewise: the network that is timed, and channels, rows and columns of its images.
        costs: likewise.
        recipe: for the batch, at most, and the memory format.
        timed: whether to measure.
    """
    batch = min(_BATCH, recipe.batch_size)
    if device().type == "cpu":
        batch = max(1, min(batch, _MACS // max(1, *(cost.macs for cost in costs.values()))))
    times = _times(dense, recipe, batch) if timed else {}
    return {gate: ArmFacts(arm.sites, costs[gate], times.get(gate), batch) for gate, arm in arms.items()}


def _times(
    dense: Mapping[str, tuple[nn.Module, tuple[int, int, int]]], recipe: Recipe, batch: int
) -> dict[str, Latency]:
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    shape = next(iter(dense.values()))[1]
    images = torch.randn((batch, *shape), generator=torch.Generator().manual_seed(0)).to(device(), memory_format=layout)
    for network, _ in dense.values():
        network.to(device(), memory_format=layout)  # type: ignore[call-overload]
    return latency({gate: network for gate, (network, _) in dense.items()}, images)
