"""Races of whole networks: what gates add to inference and to a training step of their host."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import whatwhere as ww
from gate_bench.agreement import difference, evaluate, far, finite, randomise, relative, share
from gate_bench.peers import OURS, PEERS, RIVALS, Peer, found
from gate_bench.report import Network, NetworkRow
from gate_bench.timing import Turn, race, ratio, times
from gate_bench.ways import backends, running
from whatwhere.attach.folding import fold_norms
from whatwhere.attach.gated import gated_modules
from whatwhere.hosts import build

__all__ = ["HOSTS", "QUICK", "Host", "measure"]

# Through fifty layers differences grow, and every ReLU may turn a rounding error into a gradient or none.
TOLERANCE = (1e-4, 3e-2)
_PLACES = {"cbam": "blocks", "bam": "bottlenecks", "se": "blocks"}


@dataclass(frozen=True)
class Host:
    """A network, and what it is given."""

    network: str
    batch: int
    size: int
    gates: tuple[str, ...] = ("cbam", "bam", "se")

    @property
    def name(self) -> str:
        """What ``--only`` looks into."""
        return f"{self.network} {self.batch}x3x{self.size}x{self.size}"


HOSTS = (
    Host("torchvision/resnet50", 4, 224),
    Host("torchvision/mobilenet_v2", 4, 224),
    Host("resnet50", 32, 32, ("cbam", "bam")),
)
QUICK = (Host("resnet8", 4, 32, ("cbam",)),)


@dataclass(frozen=True)
class _Arm:
    """A network with gates, and what is known of it before the race."""

    row: NetworkRow
    model: nn.Module

    @property
    def name(self) -> str:
        return f"{self.row.gate} {self.row.library} {self.row.backend or ''}"


def measure(host: Host, rounds: int) -> list[Network]:
    """Inference, inference with norms folded, and a training step of a host, plain and with gates."""
    torch.manual_seed(0)
    plain = build(host.network)
    images = torch.randn(host.batch, 3, host.size, host.size)
    arms = [arm for gate in host.gates for arm in _arms(gate, plain, images)]
    races = [_race(host, phase, plain, arms, images, rounds) for phase in ("inference", "training step")]
    folded = _fold(plain, arms, images)
    return [*races, _race(host, "inference, norms folded", plain, folded, images, rounds)]


def _fold(plain: nn.Module, arms: list[_Arm], images: Tensor) -> list[_Arm]:
    """Fold the norms of all these networks, in place, and hold what they make of the images against what they made."""
    models = {id(model): model for model in (plain, *(arm.model for arm in arms))}
    made = {key: _output(model, images) for key, model in models.items()}
    for model in models.values():
        fold_norms(model.eval(), inputs=(images,))
    errors = {key: relative(_output(model, images), made[key]) for key, model in models.items()}
    if errors[id(plain)] > TOLERANCE[0]:
        raise RuntimeError(f"folding changed what the plain network computes, by {errors[id(plain)]:.1e}")
    return [_Arm(_after(arm.row, errors[id(arm.model)]), arm.model) for arm in arms]


def _after(row: NetworkRow, error: float) -> NetworkRow:
    """What is known of a network once its norms are folded, which changed its output by ``error``."""
    return replace(row, problem=row.problem or far((error, 0.0), TOLERANCE), output_error=finite(error))


def _output(model: nn.Module, images: Tensor) -> Tensor:
    with running(model, False, "reference"):
        return model(images)  # type: ignore[no-any-return]


def _arms(gate: str, plain: nn.Module, images: Tensor) -> Iterator[_Arm]:
    """The host with our gate under each backend, and with a peer's; the same weights in all."""
    rival = next((peer for peer in PEERS if (peer.library, peer.gate) == (RIVALS[gate], gate)), None)
    form = "paper" if rival is None else rival.form
    ours = _gated(plain, lambda channels: OURS[gate](channels, form), gate)
    for gated in gated_modules(ours).values():
        randomise(gated.gate)
    theirs = None if rival is None or rival.library not in found() else _with_peer(plain, ours, rival)
    wanted = evaluate(ours, images, "reference")
    entrants: list[tuple[str, str | None, nn.Module]] = [("whatwhere", name, ours) for name in backends()]
    entrants += [] if theirs is None or rival is None else [(rival.library, None, theirs)]
    for library, name, model in entrants:
        errors = difference(evaluate(model, images, name), wanted)
        sites = len(gated_modules(model))
        yield _Arm(NetworkRow(gate, library, form, name, sites, far(errors, TOLERANCE), *map(finite, errors)), model)


def _with_peer(plain: nn.Module, ours: nn.Module, peer: Peer) -> nn.Module:
    theirs = _gated(plain, peer.build, peer.gate)
    others = gated_modules(theirs)
    for name, gated in gated_modules(ours).items():
        share(gated.gate, others[name].gate, peer.flipped)
    return theirs


def _gated(plain: nn.Module, gate: Callable[[int], nn.Module], name: str) -> nn.Module:
    model = copy.deepcopy(plain)
    ww.attach_(model, gate, at=_PLACES[name])
    return model


def _race(host: Host, phase: str, plain: nn.Module, arms: list[_Arm], images: Tensor, rounds: int) -> Network:
    training = phase == "training step"
    turns = {arm.name: _turn(arm.model, images, training, arm.row.backend) for arm in arms if arm.row.problem is None}
    seconds = race({"plain": _turn(plain, images, training, None), **turns}, rounds)
    rows = [
        replace(arm.row, times=times(seconds[arm.name]), overhead=ratio(seconds[arm.name], seconds["plain"]))
        if arm.name in seconds
        else arm.row
        for arm in arms
    ]
    return Network(host.network, host.batch, host.size, phase, rounds, times(seconds["plain"]), rows)


def _turn(model: nn.Module, images: Tensor, training: bool, backend: str | None) -> Turn:
    within = partial(running, model, training, backend)
    if not training:
        return Turn(partial(model, images), within)
    labels, parameters = torch.arange(len(images)), list(model.parameters())
    return Turn(lambda: torch.autograd.grad(F.cross_entropy(model(images), labels), parameters), within)
