"""What has to be known to build a network with its gates again: plain values, checked before anything is built."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from whatwhere.errors import HostError, closest

__all__ = ["FORMAT", "NetworkConfig"]

FORMAT = 1
# More than any network has, and little enough that building one without memory stays quick.
_MOST = 65_536
_MOST_CLASSES = 1_000_000
_LONGEST = 1_000


def _count(most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def _numbers(value: Any, above: float = -math.inf) -> bool:
    plain = isinstance(value, Sequence) and not isinstance(value, str)
    return plain and all(type(one) in (int, float) and math.isfinite(one) and one > above for one in value)


def _size(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(map(_count(_MOST), value))


def _words(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(map(_word, value))


def _gate(value: Any) -> bool:
    if not isinstance(value, Mapping) or set(value) != {"gate", "config", "side"}:
        return False
    options = value["config"]
    return (
        _word(value["gate"])
        and value["side"] in ("output", "input")
        and isinstance(options, Mapping)
        and all(_word(name) and _option(option) for name, option in options.items())
    )


def _option(value: Any) -> bool:
    if isinstance(value, bool) or _word(value):
        return True
    return _words(value) if isinstance(value, list | tuple) else isinstance(value, int) and abs(value) <= _MOST


def _gates(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_word(site) and _gate(one) for site, one in value.items())


_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "host": (_word, "a network's name, as whatwhere.hosts.build takes it"),
    "num_classes": (_count(_MOST_CLASSES), f"a whole number from 1 to {_MOST_CLASSES:,}"),
    "image_size": (_size, f"rows and columns, from 1 to {_MOST:,}"),
    "in_channels": (_count(_MOST), f"a whole number from 1 to {_MOST:,}"),
    "stem": (lambda value: value in ("standard", "small"), "'standard' or 'small'"),
    "width": (lambda value: _numbers([value], 0) and value <= _MOST, "a positive number"),
    "gates": (_gates, "for each site the gate's class, its config and its side"),
    "classes": (_words, "names"),
    "mean": (_numbers, "a number for each channel"),
    "std": (lambda value: _numbers(value, 0), "a positive number for each channel"),
}


@dataclass(frozen=True)
class NetworkConfig:
    """A host, its gates, and the images it was trained with; ``to_json`` is what ``config.json`` holds.

    Args:
        host: the host's name, as ``whatwhere.hosts.build`` takes it; likewise ``num_classes``, ``in_channels``,
            ``stem`` and ``width``.
        num_classes: outputs.
        image_size: rows and columns of the images it was trained with.
        in_channels: channels of the images.
        stem: "standard" or "small".
        width: factor of the host's channels.
        gates: by site: the gate's class, its ``config()`` and the side of the site's module that it stands at.
        classes: a name for each output; empty where none are known.
        mean: of each channel, with 255 as 1, subtracted from images before the network; empty where unknown; likewise
            ``std``, which they are divided by.
        std: likewise.

    Raises:
        HostError: a value is none that the field can have.
    """

    host: str
    num_classes: int
    image_size: tuple[int, int]
    in_channels: int = 3
    stem: Any = "standard"
    width: float = 1.0
    gates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, (right, words) in _CHECKS.items():
            value = getattr(self, name)
            if not right(value):
                said = repr(value)
                raise HostError(
                    f"NetworkConfig({name}={said if len(said) <= 60 else said[:57] + '...'}): {name} is {words}"
                )
        for name in ("image_size", "classes", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, wanted in {"classes": self.num_classes, "mean": self.in_channels, "std": self.in_channels}.items():
            if len(getattr(self, name)) not in (0, wanted):
                raise HostError(
                    f"NetworkConfig({name}=...): there must be {wanted:,} of them, or none",
                    got=str(len(getattr(self, name))),
                )

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``from_json`` takes them."""
        from whatwhere import __version__

        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"library_name": "whatwhere", "library_version": __version__, "format": FORMAT, **plain}

    @classmethod
    def from_json(cls, value: object, call: str) -> "NetworkConfig":
        """The config in what a ``config.json`` holds; fields that belong to others are left alone.

        Raises:
            HostError: it is of another library or format, or lacks a field or has one that cannot be.
        """
        if not isinstance(value, Mapping) or value.get("library_name") != "whatwhere":
            raise HostError(f"{call}: config.json is not of a network that this package saved")
        if value.get("format") != FORMAT:
            raise HostError(
                f"{call}: config.json is of another format", got=f"{value.get('format')!r}, not {FORMAT}",
                fix="a newer whatwhere reads it",
            )  # fmt: skip
        known = {one.name for one in fields(cls)}
        lacking = [name for name in ("host", "num_classes", "image_size") if name not in value]
        if lacking:
            raise HostError(
                f"{call}: config.json lacks {lacking[0]!r}", closest=closest(lacking[0], set(value) - known)
            )
        try:
            return cls(**{name: value[name] for name in known & set(value)})
        except HostError as error:
            raise HostError(f"{call}: config.json cannot be: {error.rule}", got=error.got) from None
