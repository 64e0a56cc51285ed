"""Resolving and refusing the keyword arguments of gates."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whatwhere.errors import GateError, closest

__all__ = ["POOLS", "STARTS", "count", "one_of", "pool_names", "resolve"]

POOLS = ("avg", "max", "lp", "lse")
NORMS = ("batch", "group", "none")
STARTS = ("preset", "identity")


def resolve(
    name: str,
    channels: int,
    presets: Mapping[str, Mapping[str, Any]],
    preset: str,
    given: Mapping[str, Any],
    start: str,
) -> dict[str, Any]:
    """All options of a gate: what was given, and the preset's word for what is None.

    Raises:
        GateError: on channels that are no positive whole number, an unknown preset, norm or start, or a number of
            spatial dimensions other than 1, 2, 3.
    """
    count(name, channels, "channels", channels)
    one_of(name, channels, "preset", preset, presets)
    one_of(name, channels, "start", start, STARTS)
    options = {key: usual if given[key] is None else given[key] for key, usual in presets[preset].items()}
    one_of(name, channels, "spatial_dims", options["spatial_dims"], (1, 2, 3))
    for key in ("reduction", "dilation"):
        if key in options:
            count(name, channels, key, options[key])
    if "norm" in options:
        one_of(name, channels, "norm", options["norm"], NORMS)
    if "pools" in options:
        options["pools"] = pool_names(name, channels, options["pools"])
    return options


def one_of(name: str, channels: int, option: str, value: object, allowed: Iterable[object]) -> None:
    """Refuse a value that is not among those allowed."""
    allowed = list(allowed)
    if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
        words = [word for word in allowed if isinstance(word, str)]
        raise GateError(
            f"{name}({channels}, {option}={value!r}): {option} must be one of {', '.join(map(repr, allowed))}",
            closest=closest(value, words) if isinstance(value, str) else (),
        )


def count(name: str, channels: int, option: str, value: object, least: int = 1) -> None:
    """Refuse a value that is not a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        said = f"{name}({value!r})" if option == "channels" else f"{name}({channels}, {option}={value!r})"
        raise GateError(f"{said}: {option} must be a whole number of at least {least}")


def pool_names(name: str, channels: int, pools: str | Sequence[str]) -> tuple[str, ...]:
    """The pools as a tuple: 'both' means average and maximum; a name alone means just that one."""
    if isinstance(pools, str):
        one_of(name, channels, "pools", pools, (*POOLS, "both"))
        return ("avg", "max") if pools == "both" else (pools,)
    wanted = tuple(pools) if isinstance(pools, Sequence) else ()
    if not wanted or len(set(wanted)) < len(wanted):
        raise GateError(
            f"{name}({channels}, pools={pools!r}): a gate needs at least one pool, and each only once",
            fix=f"choose from {', '.join(map(repr, POOLS))}",
        )
    for pool in wanted:
        one_of(name, channels, "pools", pool, POOLS)
    return wanted
