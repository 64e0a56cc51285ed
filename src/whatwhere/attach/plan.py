"""What attaching would do and cost, before anything is changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from whatwhere.attach.building import GateLike, check_gate, own_place, price, show
from whatwhere.attach.choice import Where, choose
from whatwhere.attach.folded import refuse_folded
from whatwhere.attach.gated import WRAPPER_NAMES, gated_modules
from whatwhere.attach.sites import PLACES, Finder, Site
from whatwhere.attach.trace import trace
from whatwhere.cost import Cost
from whatwhere.errors import AttachError

__all__ = ["Plan", "plan", "prepare"]

_WRAPPERS = ("DistributedDataParallel", "DataParallel", "OptimizedModule", "FullyShardedDataParallel")


@dataclass(frozen=True)
class Plan:
    """The sites of one gate in one host, and what each gate costs; ``print(plan)`` is a table.

    Attributes:
        host: class name of the network.
        gate: the gate as it was named.
        at: the place as it was named.
        start: 'preset' or 'identity'.
        sites: where the gates go, in the order of the forward.
        costs: one ``Cost`` a site: parameters, MACs and bytes for one image.
        unplaced: how many maps of that place have no module of their own, before or after which a gate could stand.
        cut_in: the module whose forward depends on the values of its tensors, where the host could be followed no
            further; empty when all of it was seen.
    """

    host: str
    gate: str
    at: str
    start: str
    sites: list[Site]
    costs: list[Cost] = field(repr=False)
    unplaced: int = 0
    cut_in: str = ""

    @property
    def parameters(self) -> int:
        """Parameters of all gates together."""
        return sum(cost.parameters for cost in self.costs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all gates for one image."""
        return sum(cost.macs for cost in self.costs)

    @property
    def bytes_kept(self) -> int:
        """Bytes all gates keep for backward for one image."""
        return sum(cost.bytes_kept for cost in self.costs)

    def __str__(self) -> str:
        head = ("site", "kind", "channels", "size", "parameters", "MACs", "bytes kept")
        rows = [
            (
                site.name if site.side == "output" else f"before {site.name}",
                site.kind,
                f"{site.channels:,}",
                "x".join(map(str, site.size)),
                f"{cost.parameters:,}",
                f"{cost.macs:,}",
                f"{cost.bytes_kept:,}",
            )
            for site, cost in zip(self.sites, self.costs, strict=True)
        ]
        total = (f"{len(rows)} sites" if len(rows) > 1 else "1 site", "", "", "")
        rows.append((*total, f"{self.parameters:,}", f"{self.macs:,}", f"{self.bytes_kept:,}"))
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        title = f"{self.gate} at {self.at} of {self.host}, start={self.start!r}; MACs and bytes for one image"
        notes = [f"not placed: {self.unplaced} such maps have no module of their own"] if self.unplaced else []
        if self.cut_in:
            notes.append(
                f"seen until the forward of {self.cut_in} depends on the values of its tensors; nothing after that can"
                " carry a gate"
            )
        return "\n".join([title, *(_line(row, widths) for row in (head, *rows)), *notes])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def plan(
    model: nn.Module,
    gate: GateLike,
    *,
    at: Where | None = None,
    exclude: Where | None = None,
    start: str = "preset",
    input_size: Sequence[int] | None = None,
    inputs: Sequence[Any] | None = None,
) -> Plan:
    """Find the sites for a gate in a network and what it will cost there. Nothing is changed and nothing computed.

    Args:
        model: any convolutional network, bare: not yet wrapped for data parallelism or compiled.
        gate: a name ('bam', 'cbam', 'se', with options as 'bam:reduction=8'), a gate class, or any callable
            ``channels -> nn.Module`` whose module keeps the shape of a map.
        at: 'bottlenecks' (the last map before each downsampling, stem left out: BAM's place), 'blocks' (the residual
            branch before each addition: CBAM's place), 'stages' (bottlenecks and the last map; in a detector with
            several resolutions of heads nothing below a thirty-second of the image), 'transitions' (before and after
            each module that downsamples), 'heads' (in a detector, each map that class and box predictions both read:
            right before every classifier, as in section 4.5 of CBAM's paper), a regular expression that matches whole
            module names, a list of names, or a predicate on a ``Site``. Default: the place of the gate's paper.
        exclude: a regular expression, list of names or predicate; what it matches is left out.
        start: 'preset', or 'identity' to leave the network's output bit for bit as it is until training moves it.
        input_size: (channels, *spatial) of the input. Default: the first convolution's channels, 224 px a side.
        inputs: positional arguments instead, for a network that takes more or other than one map; a list of images
            (channels, *spatial) among them is a batch.

    A head's gate stands before the module that makes all predictions from its map, where there is one. Where class and
    box predictions read the map through modules of their own (torchvision's), the gate follows the module that gives
    the map, and whatever else reads the map reads it gated: the next feature layer of an SSD, the regions of a Faster
    R-CNN. Of a network whose forward depends on values, as a detector's does from its suppression of boxes on, the
    part before that is planned, and the plan names where it ended.

    Raises:
        AttachError: when the network cannot be traced or nothing matches; the message names what is close.
        GateError: when the gate cannot be built for a site.
    """
    return prepare("plan", model, gate, at, exclude, start, input_size, inputs)


def prepare(
    verb: str,
    model: nn.Module,
    gate: GateLike,
    at: Where | None,
    exclude: Where | None,
    start: str,
    input_size: Sequence[int] | None,
    inputs: Sequence[Any] | None,
) -> Plan:
    """What ``plan`` does, in the name of the call that the user made."""
    said = f"{verb}({type(model).__name__}, {show(gate)}"
    check_gate(gate, start, f"{said})")
    place = own_place(gate) if at is None else at
    call = f"{said}, at={show(place)})"
    _refuse_wrapped(model, call)
    refuse_folded(model, call)
    finder = Finder(trace(model, input_size, inputs, call, partly=True))
    sites = choose(finder, gate, place, exclude, call)
    _refuse_taken_name(model, sites, call)
    prices: dict[Any, Cost] = {}  # a network has few kinds of sites
    for site in sites:
        if _kind(site) not in prices:
            prices[_kind(site)] = price(gate, site, start, call)
    costs = [prices[_kind(site)] for site in sites]
    unplaced = finder.unplaced(place) if isinstance(place, str) and place in PLACES else 0
    names = show(gate).strip("'"), show(place).strip("'")
    return Plan(type(model).__name__, *names, start, sites, costs, unplaced, finder.trace.cut_name)


def _kind(site: Site) -> tuple[Any, ...]:
    return site.channels, site.size, site.dtype


def _refuse_wrapped(model: nn.Module, call: str) -> None:
    if type(model).__name__ in _WRAPPERS:
        raise AttachError(
            f"{call}: the network is wrapped in {type(model).__name__}; nothing was changed",
            fix="attach the gates first, then wrap or compile",
        )
    present = gated_modules(model)
    if present:
        raise AttachError(
            f"{call}: the network already carries gates; nothing was changed",
            got=f"{len(present)} gates, the first at {next(iter(present))!r}",
            fix="detach_(model) takes them out",
        )


def _refuse_taken_name(model: nn.Module, sites: list[Site], call: str) -> None:
    for site in sites:
        host = model.get_submodule(site.name)
        taken = next((name for name in WRAPPER_NAMES if hasattr(host, name)), None)
        if taken is not None:
            raise AttachError(
                f"{call}: the wrapper around {site.name!r} would hide its own {taken!r}; nothing was changed",
                fix=f"exclude {site.name!r}, or name a module inside or around it",
            )
