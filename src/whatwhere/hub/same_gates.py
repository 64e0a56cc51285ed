"""Whether the gates that a network carries are those of a file."""

from collections.abc import Mapping

from torch import nn

from whatwhere.attach.gated import Gated
from whatwhere.errors import AttachError, GateError
from whatwhere.gates import Gate, named
from whatwhere.hub.same_host import Blocks, State, compared, fits

__all__ = ["check_gates", "site_names"]

_REDUCTION, _KERNEL = 16, 7


def check_gates(carried: Mapping[str, Gated], theirs: Mapping[str, State], found: Blocks, gate: str, call: str) -> None:
    """Refuse a network whose gates are not those of the file, in kind, options, place or shape.

    Args:
        carried: the network's gates.
        theirs: the file's gates, tensors under our names, by the block or stage that each ends.
        found: blocks of the host.
        gate: the file's gate, as ``attach_`` is told it.
        call: what the user wrote.
    Raises:
        AttachError: with the ``attach_`` that fits the file.
    """
    fix = _attach(theirs, gate)
    if not carried:
        raise AttachError(
            f"{call}: the network carries no gates, and the file has {len(theirs)}; nothing was changed", fix=fix
        )
    sites = site_names(carried, theirs, found)
    lacking = [place for place in theirs if place not in sites]
    surplus = [name for name in carried if name not in sites.values()]
    if lacking or surplus:
        odd = f"none of these ends {lacking[0]!r}" if lacking else f"the file has none for that at {surplus[0]!r}"
        raise AttachError(
            f"{call}: the network's gates stand elsewhere than the file's; nothing was changed",
            got=f"{len(theirs)} gates in the file, {len(carried)} in the network, and {odd}",
            fix=f"detach_(model), then {fix}",
        )
    for place, site in sites.items():
        _check_gate(carried[site].gate, theirs[place], gate, site, call, f"detach_(model), then {fix}")


def _check_gate(ours: nn.Module, theirs: State, gate: str, site: str, call: str, fix: str) -> None:
    """One gate: the same class, options, names and shapes."""
    try:
        wanted = named(_with_options(gate, _options(theirs)))(_width(theirs)[0], device="meta")
    except GateError as error:
        raise AttachError(
            f"{call}: the file's gate for {site!r} has shapes that no gate has; nothing was changed", got=error.rule
        ) from None
    if type(ours) is not type(wanted) or not isinstance(ours, Gate) or ours.config() != wanted.config():
        raise AttachError(
            f"{call}: the network's gates are not the file's; nothing was changed",
            got=f"{repr(ours).splitlines()[0].rstrip('(')} at {site!r}, where the file has {wanted!r}",
            fix=fix,
        )
    here = ours.state_dict()
    for name in {**here, **theirs}:
        if not fits(name, theirs.get(name), here.get(name)):
            raise AttachError(
                f"{call}: a gate of the file lacks a tensor, or has one that its kind has not; nothing was changed",
                got=compared(f"{name!r} at {site!r}", theirs.get(name), here.get(name)),
                fix="fetch or copy the file again; if it is whole, its gates were built with other options",
            )


def _width(theirs: State) -> tuple[int, int]:
    """Channels and hidden units of a gate, read off the last layer of its perceptron."""
    last = next((tensor for name, tensor in theirs.items() if name.endswith("expand.weight") and tensor.ndim > 1), None)
    return (1, 1) if last is None else (max(1, last.shape[0]), max(1, last.shape[1]))


def _options(theirs: State) -> dict[str, int]:
    """The options that shapes show, where they are not the usual ones."""
    channels, hidden = _width(theirs)
    reduction = max(1, channels // hidden)
    options = {} if reduction == _REDUCTION else {"reduction": reduction}
    kernel = theirs.get("spatial.conv.weight")
    if kernel is None or kernel.ndim < 1 or kernel.shape[-1] == _KERNEL:
        return options
    return {**options, "kernel_size": kernel.shape[-1]}


def _with_options(gate: str, options: Mapping[str, int]) -> str:
    return ":".join([gate, *(f"{name}={value}" for name, value in options.items())])


def _attach(theirs: Mapping[str, State], gate: str) -> str:
    """The call that attaches the file's gates."""
    place = "bottlenecks" if gate.startswith("bam") else "blocks"
    by_width = {_width(one)[0]: _options(one) for one in theirs.values()}
    options = next(iter(by_width.values()))
    if all(one == options for one in by_width.values()):
        return f"attach_(model, {_with_options(gate, options)!r}, at={place!r})"
    odd = {width: one["reduction"] for width, one in by_width.items() if "reduction" in one}
    kind = f"whatwhere.{gate.partition(':')[0].upper()}"
    return f"attach_(model, lambda channels: {kind}(channels, reduction={odd}.get(channels, 16)), at={place!r})"


def site_names(carried: Mapping[str, Gated], theirs: Mapping[str, State], found: Blocks) -> dict[str, str]:
    """The network's gate for each block or stage of the file, where one stands that reads the same map."""
    counts, convs = found
    sites = {}
    for place in theirs:
        stage, _, block = place.removeprefix("layer").partition(".")
        ends = {f"{place}.bn{convs}": False}
        if not block and 1 <= int(stage) <= len(counts):
            last, after = counts[int(stage) - 1] - 1, int(stage) + 1
            ends = {place: False, f"{place}.{last}": False, f"layer{after}": True, f"layer{after}.0": True}
        here = [name for name, before in ends.items() if name in carried and carried[name].before == before]
        if len(here) == 1:
            sites[place] = here[0]
    return sites
