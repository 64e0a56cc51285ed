"""Gates by name: 'bam', or 'bam:combine=product:reduction=8'."""

import ast
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from whatwhere.errors import GateError, closest
from whatwhere.gates.bam import BAM
from whatwhere.gates.cbam import CBAM
from whatwhere.gates.channel import SE, ChannelGate
from whatwhere.gates.gate import Gate
from whatwhere.gates.spatial import SpatialGate

__all__ = ["NAMED", "named"]

# Not the gate's own: whoever builds it says where, of what kind and how it starts.
_CALLERS = ("channels", "device", "dtype", "start", "spatial_dims")

NAMED: Mapping[str, type[Gate]] = {"se": SE, "bam": BAM, "cbam": CBAM, "channel": ChannelGate, "spatial": SpatialGate}


def named(text: str) -> partial[Gate]:
    """The gate that ``text`` names, waiting for its channels: ``named('bam:reduction=8')(64)``.

    Options follow the name after colons, as they would be written in Python; words need no quotes, and pools may be
    joined by ``+``.

    Raises:
        GateError: on an unknown name or option, with the closest ones. A wrong value is refused when the gate is built.
    """
    name, *said = text.split(":")
    if name not in NAMED:
        raise GateError(
            f"gate {text!r}: there is no gate {name!r}",
            closest=closest(name, NAMED),
            fix=f"use one of {', '.join(NAMED)}, or give any callable channels -> nn.Module",
        )
    gate = NAMED[name]
    known = [option for option in inspect.signature(gate).parameters if option not in _CALLERS]
    options: dict[str, Any] = {}
    for part in said:
        option, equals, value = part.partition("=")
        if option not in known or not equals:
            raise GateError(
                f"gate {text!r}: {name} has no option {option!r}"
                if equals
                else f"gate {text!r}: {part!r} sets nothing",
                closest=closest(option, known) if equals else (),
                fix="write name:option=value:option=value",
            )
        if option in options:
            raise GateError(f"gate {text!r}: {option} is set twice", got=f"{options[option]!r} and {value!r}")
        options[option] = _value(value)
    return partial(gate, **options)


def _value(text: str) -> Any:
    if "+" in text:
        return tuple(text.split("+"))
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text
