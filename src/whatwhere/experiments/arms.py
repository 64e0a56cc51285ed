"""An arm in flesh: a host with a gate in it, and what that costs before anything is learnt."""

from dataclasses import dataclass

import torch
from torch import nn

from whatwhere import hosts
from whatwhere.cost import measure
from whatwhere.data import Splits
from whatwhere.errors import HostError
from whatwhere.experiments.spec import YARDSTICK, TrialSpec

__all__ = ["Arm", "ArmCost", "arm_cost", "build_arm"]


@dataclass(frozen=True)
class Arm:
    """A model ready to train, and the names of the sites that its gates sit at."""

    model: nn.Module
    sites: tuple[str, ...]


@dataclass(frozen=True)
class ArmCost:
    """Of one model: parameters, multiply-accumulates of one image's forward, bytes kept for backward per image."""

    parameters: int
    macs: int
    bytes_kept: int


def build_arm(spec: TrialSpec, splits: Splits) -> Arm:
    """Build the host under the trial's seed, then attach the gate: the host's weights are the same in all arms.

    The process's random state, GPUs included, is left as it was.

    Raises:
        HostError, AttachError, GateError: the host or the gate cannot be built, or finds no site.
    """
    from whatwhere.attach import attach_

    channels, height, width = splits.train.shape
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(spec.seed)
        model = hosts.build(spec.host, num_classes=len(splits.classes), in_channels=channels, stem=spec.stem)
        if spec.gate == YARDSTICK or spec.at is None:
            return Arm(model, ())
        plan = attach_(model, spec.gate, at=spec.at, start=spec.start, input_size=(channels, height, width))
    return Arm(model, tuple(site.name for site in plan.sites))


def arm_cost(model: nn.Module, splits: Splits, batch_size: int) -> ArmCost:
    """Cost of training ``model`` in float32 on batches of ``batch_size``, counted and not run, per image (rounded).

    Raises:
        HostError: the model does not run on images of this size.
    """
    _, height, width = splits.train.shape
    try:
        cost = measure(model, (batch_size, *splits.train.shape), training=True)
    except HostError as error:
        raise HostError(
            f"compare: {type(model).__name__} cannot be trained on images of {height} x {width}",
            got=error.got or error.rule,
            fix="larger images: --image-size (image_size=), where the data set can have them; or another host",
        ) from error
    return ArmCost(cost.parameters, round(cost.macs / batch_size), round(cost.bytes_kept / batch_size))
