"""The report as tables for the documents and the terminal."""

from collections.abc import Iterator, Sequence

from gate_bench.modules import CASES
from gate_bench.report import Cell, Network, NetworkRow, Ratio, Report, Row
from whatwhere.experiments.grid import ABSENT, Grid

__all__ = ["all_maps", "everything", "largest", "networks"]

_PHASES = ("inference", "inference, norms folded", "training step")
_WORDS = frozenset({"network", "gate", "code", "formula"})
Kind = tuple[tuple[int, ...], str, str]


def largest(report: Report) -> str:
    """All gates on the largest map, float32 and contiguous, in few columns."""
    first = CASES[0]
    cells = [cell for cell in report.cells if _kind(cell) == (first.shape, first.dtype, first.layout)]
    timed = ("clones", "times ours")
    headers = ("gate", "code", "formula", *timed, *(f"{word} with backward" for word in timed), "kept")
    rows = [
        (*words, _clones(one), _against(one), _clones(both), _against(both), _kept(both))
        for words, one, both in _pairs(cells)
    ]
    return Grid(headers, rows, _WORDS, [*_notes(cells), *_where(report)]).markdown().strip()


def all_maps(report: Report) -> str:
    """One table for each map, dtype and layout."""
    kinds = dict.fromkeys(_kind(cell) for cell in report.cells)
    parts = []
    for shape, dtype, layout in kinds:
        cells = [cell for cell in report.cells if _kind(cell) == (shape, dtype, layout)]
        parts.append(f"### {'x'.join(map(str, shape))}, {dtype}, {layout}\n\n{_maps(cells)}")
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in _where(report))])


def networks(report: Report) -> str:
    """What gates add to the time of whole networks."""
    rows = []
    for name in dict.fromkeys(race.network for race in report.networks):
        races = {race.phase: race for race in report.networks if race.network == name}
        for phases in zip(*(races[phase].rows for phase in _PHASES), strict=True):
            row = phases[0]
            rows.append((name, row.gate, _code(row), str(row.sites), *(_overhead(each) for each in phases)))
    headers = ("network", "gate", "code", "sites", *_PHASES)
    return Grid(headers, rows, _WORDS, _network_notes(report.networks)).markdown().strip()


def everything(report: Report) -> str:
    """All of it, for the terminal."""
    return f"{all_maps(report)}\n\n{networks(report)}"


def _kind(cell: Cell) -> Kind:
    return tuple(cell.shape), cell.dtype, cell.layout


def _maps(cells: Sequence[Cell]) -> str:
    timed = ("ms", "clones", "of copy", "times ours")
    memory = ("kept", "blocks", "peak")
    headers = ("gate", "code", "formula", *timed, *(f"{word} with backward" for word in timed), *memory)
    rows = [
        (*words, *_timed(one), *_timed(both), _kept(both), _number(both.allocations, "d"), _number(both.peak, ".1f"))
        for words, one, both in _pairs(cells)
    ]
    return Grid(headers, rows, _WORDS, _notes(cells)).markdown().strip()


def _pairs(cells: Sequence[Cell]) -> Iterator[tuple[tuple[str, str, str], Row, Row]]:
    """Gate, code and formula of every contender, its forward, and its forward with backward."""
    for gate in dict.fromkeys(cell.gate for cell in cells):
        forward, backward = (cell for cell in cells if cell.gate == gate)
        for one, both in zip(forward.rows, backward.rows, strict=True):
            yield (gate, _code(one), one.form), one, both


def _code(row: Row | NetworkRow) -> str:
    compiled = isinstance(row, Row) and row.compiled
    return " ".join(word for word in (row.library, row.backend, "compiled" if compiled else None) if word)


def _timed(row: Row) -> tuple[str, str, str, str]:
    median = None if row.times is None else row.times.median
    return _number(median, ".2f"), _clones(row), _number(row.share, ".0%"), _against(row)


def _clones(row: Row) -> str:
    return _number(row.clones, ".1f")


def _kept(row: Row) -> str:
    return _number(row.kept, ".2f")


def _number(value: float | None, form: str) -> str:
    return ABSENT if value is None else format(value, form)


def _against(row: Row) -> str:
    ratio = row.against
    if ratio is None:
        return ABSENT
    return "1" if ratio.low == ratio.high == 1 else _interval(ratio, 0, ".2f")


def _overhead(row: NetworkRow) -> str:
    return ABSENT if row.overhead is None else _interval(row.overhead, 1, "+.1%")


def _interval(ratio: Ratio, less: int, form: str) -> str:
    middle, low, high = (format(value - less, form) for value in (ratio.median, ratio.low, ratio.high))
    return f"{middle} [{low}, {high}]"


def _notes(cells: Sequence[Cell]) -> list[str]:
    clones, copies = (
        ", ".join(dict.fromkeys(f"{times.median:.2f}" for times in each))
        for each in ([cell.clone for cell in cells], [cell.copy for cell in cells])
    )
    ran = " and ".join(dict.fromkeys(cell.auto for cell in cells))
    notes = [f"`x.clone()`: {clones} ms; `y.copy_(x)`: {copies} ms, race by race. A user gets our {ran} here."]
    odd = dict.fromkeys((cell.gate, _code(row), row.problem) for cell in cells for row in cell.rows)
    return notes + [f"Not timed: {code}, {gate}: {problem}." for gate, code, problem in odd if problem is not None]


def _network_notes(races: Sequence[Network]) -> list[str]:
    plain = [f"{one.network} ({one.batch} of {one.size} px), {one.phase}: {one.plain.median:.0f} ms" for one in races]
    odd = dict.fromkeys((race.network, row.gate, _code(row), row.problem) for race in races for row in race.rows)
    notes = [f"Added to the time of the plain network: {'; '.join(plain)}."] if plain else []
    return notes + [f"Not timed: {code}, {gate}, in {name}: {why}." for name, gate, code, why in odd if why is not None]


def _where(report: Report) -> list[str]:
    here = report.where
    versions = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    rounds = " and ".join(str(rounds) for rounds in sorted({race.rounds for race in (*report.cells, *report.networks)}))
    ratios = [row.against for cell in report.cells for row in cell.rows]
    ratios += [row.overhead for race in report.networks for row in race.rows]
    levels = " and ".join(f"{level:.0%}" for level in sorted({ratio.level for ratio in ratios if ratio is not None}))
    lines = [
        f"{here.device}, threads: {here.threads}; {versions}. Medians of {rounds} rounds, contenders in turn; "
        f"in brackets the interval that holds the median ratio in {levels or ABSENT} of cases."
    ]
    return [*lines, f"Not installed: {', '.join(here.missing)}."] if here.missing else lines
