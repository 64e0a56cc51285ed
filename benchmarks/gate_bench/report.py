"""What the benchmark writes down, and the check that a file holds just that."""

import dataclasses
import json
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["Cell", "Network", "NetworkRow", "Ratio", "Report", "Row", "Times", "Where", "read", "write"]

FORMAT = 1


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call: median and quartiles over the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """The median over rounds of a ratio of two times in the same round, and an interval that holds it at ``level``."""

    median: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Row:
    """One contender in one cell.

    Attributes:
        library: "whatwhere" or a peer.
        form: the preset of ours that computes the formula.
        backend: what ran our operations; None for a peer and for compiled code.
        compiled: through torch.compile.
        problem: why there is no time: what was raised, or by how much the results disagree.
        output_error, gradient_error: relative differences to our gate in plain torch with the same weights.
        times: of one call.
        clones, copies: medians over rounds of a call by ``x.clone()`` and by ``y.copy_(x)`` in the same round.
        share: minimal bytes by time, as a share of the copy's bandwidth.
        against: this time by that of our gate of the same form as a user gets it.
        kept: bytes held for backward, in maps; None for a forward without gradients.
        allocations: of at least half a map.
        peak: the most bytes allocated and held at once, in maps.
    """

    library: str
    form: str
    backend: str | None
    compiled: bool
    problem: str | None
    output_error: float | None = None
    gradient_error: float | None = None
    times: Times | None = None
    clones: float | None = None
    copies: float | None = None
    share: float | None = None
    against: Ratio | None = None
    kept: float | None = None
    allocations: int | None = None
    peak: float | None = None


@dataclass(frozen=True)
class Cell:
    """One race: a gate on a map, in one phase.

    Attributes:
        passes: the least number of times that the map must be read or written.
        auto: the backend that a user gets for this map.
        clone, copy: ``x.clone()`` and ``y.copy_(x)`` in the same rounds.
    """

    gate: str
    shape: list[int]
    dtype: str
    layout: str
    phase: str
    rounds: int
    passes: float
    auto: str
    clone: Times
    copy: Times
    rows: list[Row]


@dataclass(frozen=True)
class NetworkRow:
    """One network with gates in one race; ``overhead`` is its time by that of the plain network."""

    gate: str
    library: str
    form: str
    backend: str | None
    sites: int
    problem: str | None
    output_error: float | None = None
    gradient_error: float | None = None
    times: Times | None = None
    overhead: Ratio | None = None


@dataclass(frozen=True)
class Network:
    """One race of a network: plain, and with gates."""

    network: str
    batch: int
    size: int
    phase: str
    rounds: int
    plain: Times
    rows: list[NetworkRow]


@dataclass(frozen=True)
class Where:
    """What the numbers belong to."""

    versions: dict[str, str]
    device: str
    threads: int
    commit: str | None
    missing: list[str]


@dataclass(frozen=True)
class Report:
    """The whole file."""

    format: int
    where: Where
    cells: list[Cell]
    networks: list[Network]


def write(report: Report, path: Path) -> None:
    """As JSON, checked first."""
    data = dataclasses.asdict(report)
    _built(data, Report, "report")
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")


def read(path: Path) -> Report:
    """The report in a file.

    Raises:
        ValueError: anything missing, unknown, or of another type, and where.
    """
    report: Report = _built(json.loads(path.read_text()), Report, "report")
    if report.format != FORMAT:
        raise ValueError(f"report.format: {report.format}, not {FORMAT}")
    return report


def _built(value: Any, kind: Any, where: str) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        return None if value is None else _built(value, get_args(kind)[0], where)
    if get_origin(kind) is list and isinstance(value, list):
        return [_built(item, get_args(kind)[0], f"{where}[{index}]") for index, item in enumerate(value)]
    if get_origin(kind) is dict and isinstance(value, dict):
        return {key: _built(item, get_args(kind)[1], f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        if set(value) != set(hints):
            raise ValueError(f"{where}: {', '.join(sorted(set(value) ^ set(hints)))} missing or unknown")
        return kind(**{name: _built(value[name], hint, f"{where}.{name}") for name, hint in hints.items()})  # type: ignore[operator]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or value != value:
        raise ValueError(f"{where}: {value!r} is no {getattr(kind, '__name__', kind)}")
    return value
