"""Arms by name: 'bam', 'bam:combine=product@blocks', 'bam/frozen', and the controls of equal budget."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from whatwhere.attach.building import own_place
from whatwhere.errors import RunError, closest

__all__ = ["CONTROLS", "YARDSTICK", "ArmName", "Start", "default_place", "parse_arm", "with_budget"]

Start = Literal["preset", "identity", "frozen"]

YARDSTICK = "none"
# Not gates: what else the same parameters could have bought.
CONTROLS = ("extra_block", "wider", "deeper")
_BUDGETED = ("wider", "deeper")
_FIX = "write GATE[:option=value][@PLACE][/START], for example bam:combine=product@blocks/identity"


@dataclass(frozen=True)
class ArmName:
    """What an arm's name says.

    Args:
        gate: a gate string; "none"; or a control: "extra_block" (the host's own block where the gate would stand),
            "wider" or "deeper" (the host with more channels or more blocks, of about so many parameters).
        at: where it goes; None where the name does not say.
        start: how it starts; None where the name does not say.
        parameters: of the whole network, for "wider" and "deeper"; None where the name does not say.
    """

    gate: str
    at: str | None = None
    start: Start | None = None
    parameters: int | None = None


def parse_arm(text: str) -> ArmName:
    """Read ``GATE[:option=value][@PLACE][/START]``.

    START is "preset" (as the gate's source says), "identity" (the output is the input's at first) or "frozen" (weights
    drawn at random and never trained; running statistics of its norms do follow the data). PLACE is as in ``attach_``,
    without commas. Whether gate and options exist is for ``attach_`` to say.

    Raises:
        RunError: an unknown start, or a control with what it cannot have.
    """
    rest, slash, start = text.rpartition("/")
    if not slash:
        rest, start = text, ""
    elif start not in get_args(Start):
        near = closest(start, get_args(Start))
        raise RunError(f"arm {text!r}: a start is 'preset', 'identity' or 'frozen'", closest=near, fix=_FIX)
    gate, mark, at = rest.partition("@")
    if mark and not at:
        raise RunError(f"arm {text!r}: there is no place after the @", fix=f"leave the @ out, or {_FIX}")
    name, _, options = gate.partition(":")
    found = ArmName(gate, at or None, start or None)  # type: ignore[arg-type]
    if name in (YARDSTICK, *CONTROLS):
        return _without_gate(text, found, name, options)
    return found


def _without_gate(text: str, found: ArmName, name: str, options: str) -> ArmName:
    if found.start is not None:
        raise RunError(f"arm {text!r}: only gates have a start", got=f"/{found.start}", fix=f"write {name!r}")
    if found.at is not None and name != "extra_block":
        raise RunError(f"arm {text!r}: {name!r} has no place", got=f"@{found.at}", fix=f"write {name!r}")
    if name not in _BUDGETED:
        if options:
            raise RunError(f"arm {text!r}: {name!r} has no options", got=options, fix=f"write {name!r}")
        return found
    key, _, value = options.partition("=")
    if options and (key != "parameters" or not value.isdecimal() or int(value) < 1):
        raise RunError(
            f"arm {text!r}: {name!r} has one option, the parameters of the whole network",
            got=options,
            fix=f"write {name}:parameters=276091, or {name} alone for those of the first gate",
        )
    return replace(found, gate=name, parameters=int(value) if options else None)


def with_budget(arm: str, parameters: int) -> str:
    """The arm's name, "wider" and "deeper" without a number now with it; any other as it is."""
    return f"{arm}:parameters={parameters}" if arm in _BUDGETED else arm


def default_place(gate: str) -> str | None:
    """Where a gate's paper puts it, as ``attach_`` does when it is told no place; None for what has no place.

    Raises:
        GateError: an unknown gate or option.
    """
    name = gate.partition(":")[0]
    if name in (YARDSTICK, *_BUDGETED):
        return None
    return "bottlenecks" if name == "extra_block" else own_place(gate)
