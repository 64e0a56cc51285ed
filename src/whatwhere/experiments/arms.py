"""An arm in flesh: a host with a gate in it, and what that costs before anything is learnt."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from whatwhere import hosts
from whatwhere.attach import Plan, attach_
from whatwhere.attach.gated import Gated
from whatwhere.cost import measure
from whatwhere.data import Splits
from whatwhere.errors import HostError, RunError
from whatwhere.experiments.arm_names import CONTROLS, YARDSTICK, parse_arm, with_budget
from whatwhere.experiments.controls import deepen_, extra_block_, width_for
from whatwhere.experiments.spec import Comparison, TrialSpec

__all__ = ["Arm", "ArmCost", "arm_cost", "build_arm", "build_network", "freeze_gates", "settled"]

_SMALL = 64


@dataclass(frozen=True)
class Arm:
    """A model ready to train, and the names of the sites that its gates (or extra blocks) sit at."""

    model: nn.Module
    sites: tuple[str, ...]


@dataclass(frozen=True)
class ArmCost:
    """Of one model: parameters, multiply-accumulates of one image's forward, bytes kept for backward per image."""

    parameters: int
    macs: int
    bytes_kept: int


def settled(comparison: Comparison, data: str, shape: tuple[int, int, int], classes: int) -> Comparison:
    """The comparison with every choice made that waits for the data.

    CIFAR's stem, which keeps the resolution, goes with small images and hosts that can have it; wider and deeper hosts
    without a number get the parameters of the first arm that has a gate.

    Args:
        comparison: as asked for.
        data: what the data set calls itself.
        shape: channels, rows and columns of an image.
        classes: outputs of the networks.

    Raises:
        RunError: there is no gate whose parameters a wider or deeper host could match.
    """
    comparison = replace(comparison, data=data, stem=comparison.stem or _stem(comparison.host, shape))
    if not {"wider", "deeper"} & set(comparison.gates):
        return comparison
    gated = [arm for arm in comparison.gates if parse_arm(arm).gate not in (YARDSTICK, *CONTROLS)]
    if not gated:
        raise RunError(
            f"compare(gates={','.join(comparison.gates)!r}): there is no gate whose parameters to match",
            fix="add a gate, or write wider:parameters=276091",
        )
    model = build_network(comparison.trial(gated[0], 0), shape, classes).model
    parameters = sum(weight.numel() for weight in model.parameters())
    return replace(comparison, gates=tuple(with_budget(arm, parameters) for arm in comparison.gates))


def _stem(host: str, shape: tuple[int, int, int]) -> hosts.Stem:
    if min(shape[1:]) > _SMALL:
        return "standard"
    try:
        hosts.skeleton(host, stem="small")
    except HostError:
        return "standard"
    return "small"


def build_arm(spec: TrialSpec, splits: Splits) -> Arm:
    """``build_network`` for the images and classes of ``splits``."""
    return build_network(spec, splits.train.shape, len(splits.classes))


def build_network(spec: TrialSpec, shape: tuple[int, int, int], classes: int) -> Arm:
    """Build the host under the trial's seed, then attach the gate: the host's weights are the same in all gated arms.

    The process's random state, GPUs included, is left as it was.

    Args:
        spec: of the trial.
        shape: channels, rows and columns of an image.
        classes: outputs of the network.

    Raises:
        HostError, AttachError, GateError: the host or the gate cannot be built, or finds no site.
        RunError: a control has no budget.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(spec.seed)
        return _build(spec, shape, classes)


def _build(spec: TrialSpec, shape: tuple[int, int, int], classes: int) -> Arm:
    named = parse_arm(spec.gate)
    if named.gate in ("wider", "deeper") and named.parameters is None:
        raise RunError(f"arm {spec.gate!r}: how many parameters?", fix=f"write {spec.gate}:parameters=276091")
    parameters = named.parameters or 0
    width = 1.0
    if named.gate == "wider":
        width = width_for(spec.host, parameters, num_classes=classes, in_channels=shape[0], stem=spec.stem)
    model = hosts.build(spec.host, num_classes=classes, in_channels=shape[0], stem=spec.stem, width=width)
    if named.gate in (YARDSTICK, "wider"):
        return Arm(model, ())
    plan = _put_in(spec, model, shape, parameters)
    return Arm(model, tuple(site.name for site in plan.sites))


def _put_in(spec: TrialSpec, model: nn.Module, shape: tuple[int, int, int], parameters: int) -> Plan:
    if spec.gate == "extra_block":
        return extra_block_(model, spec.host, str(spec.at), shape)
    if parameters:
        return deepen_(model, spec.host, parameters, shape)
    frozen = spec.start == "frozen"
    plan = attach_(model, spec.gate, at=spec.at, start="preset" if frozen else spec.start, input_size=shape)
    if frozen:
        freeze_gates(model)
    return plan


def freeze_gates(model: nn.Module) -> None:
    """Has training leave the gates' weights as they are; running statistics of their norms do follow the data."""
    for module in model.modules():
        if isinstance(module, Gated):
            module.gate.requires_grad_(False)


def arm_cost(model: nn.Module, dense: nn.Module, shape: tuple[int, int, int], batch_size: int) -> ArmCost:
    """Cost of training a network in float32 on batches of ``batch_size``, counted and not run, per image (rounded).

    Args:
        model: whose parameters count.
        dense: whose forward counts: the network itself, or the part of it that has fixed shapes.
        shape: channels, rows and columns of an image.
        batch_size: images a batch.

    Raises:
        HostError: it does not run on images of this size.
    """
    _, height, width = shape
    try:
        cost = measure(dense, (batch_size, *shape), training=True)
    except HostError as error:
        raise HostError(
            f"compare: {type(model).__name__} cannot be trained on images of {height} x {width}",
            got=error.got or error.rule,
            fix="larger images: --image-size (image_size=), where the data set can have them; or another host",
        ) from error
    parameters = sum(weight.numel() for weight in model.parameters())
    return ArmCost(parameters, round(cost.macs / batch_size), round(cost.bytes_kept / batch_size))
