"""What the gates did, site by site: means over an arm's seeds, what is to be said of them, and their course."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whatwhere.report.arms import number
from whatwhere.report.gate_curves import GateCurves, gate_curves
from whatwhere.report.remarks import remarks
from whatwhere.report.runs import Run
from whatwhere.report.tables import Bar, Cell, Column, Table
from whatwhere.report.words import ABSENT, fixed, short

__all__ = ["Gates", "gates"]

_FIGURES = (
    "low",
    "high",
    "mean",
    "sd",
    "sd_images",
    "sd_within",
    "saturated_low",
    "saturated_high",
    "gain",
    "strength",
    "flipped",
    "moved",
)
# Columns that are there where any seed has a figure for them.
_SOMETIMES = {
    "strength": "how far the factor acts",
    "flipped": "share of the images whose predicted class changes with this gate alone switched off",
    "moved": "how far the probabilities then move: mean total variation, 0 to 1",
}


@dataclass(frozen=True)
class Gates:
    """One arm's gates.

    Args:
        arm: its place.
        table: of the trained gates; None before the first seed is finished.
        remarks: what is out of the ordinary, in how many of the seeds.
        curves: what they did while they were trained; None where no trial kept it.
    """

    arm: int
    table: Table | None
    remarks: tuple[str, ...]
    curves: GateCurves | None


def gates(run: Run) -> list[Gates]:
    """Those of each arm whose trials say what its gates did."""
    found = []
    for place, arm in enumerate(run.arms):
        trials = [trial for trial in run.trials if trial.arm == arm.name]
        seeds = [trial.gates for trial in trials if trial.gates]
        drawn = gate_curves([trial.history for trial in trials if trial.history])
        if seeds or drawn:
            found.append(Gates(place, _table(arm.name, seeds) if seeds else None, remarks(seeds), drawn))
    return found


def _table(arm: str, found: Sequence[Sequence[Mapping[str, Any]]]) -> Table:
    """Sites in the order of the first seed."""
    sites = dict.fromkeys(str(gate["site"]) for gates in found for gate in gates)
    entries = [_site([gate for gates in found for gate in gates if gate["site"] == site]) for site in sites]
    lows = [entry["low"] for entry in entries if entry["low"] is not None]
    highs = [entry["high"] for entry in entries if entry["high"] is not None]
    low, high = (math.floor(min(lows)), math.ceil(max(highs))) if lows and highs else (0, 1)
    more = [key for key in _SOMETIMES if any(entry[key] is not None for entry in entries)]
    columns = [
        Column("site", numeric=False),
        Column("gate", numeric=False),
        Column("map", numeric=False, help="channels and size of the map that the gate reads"),
        Column(f"factor, {low} to {high}", help="least to greatest, mean ± standard deviation, and mean"),
        Column("mean", help="of the factor over images, channels and positions"),
        Column("sd"),
        Column("between images", help="spread over images at one channel and position: dependence on the input"),
        Column("within", help="spread over channels and positions of one image"),
        Column("saturated %", help="share of the factor in the lowest and highest twentieth of the gate's range"),
        Column("gain", help="size of the gate's output over its input's (root mean squares), strength included"),
        *(Column(key, help=_SOMETIMES[key]) for key in more),
        Column("n", help="seeds"),
    ]
    return Table(f"gates of {arm}", columns, [_row(entry, low, max(high, low + 1), more) for entry in entries])


def _site(gates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One site over the seeds: least and greatest of all, means of the rest."""
    values = {key: [value for gate in gates if (value := number(gate.get(key))) is not None] for key in _FIGURES}
    pick = {"low": min, "high": max}
    figures = {key: pick.get(key, _mean)(found) if found else None for key, found in values.items()}
    return {
        **figures,
        "n": len(gates),
        "map": _map(gates[0]),
        "site": gates[0]["site"],
        "gate": gates[0].get("gate", ABSENT),
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _map(gate: Mapping[str, Any]) -> str:
    size = gate.get("size")
    words = [gate.get("channels"), *(size if isinstance(size, list) else [])]
    return " × ".join(str(word) for word in words) if gate.get("channels") else ABSENT


def _row(entry: Mapping[str, Any], low: float, high: float, more: Sequence[str]) -> list[Cell]:
    ends = [entry["saturated_low"], entry["saturated_high"]]
    saturated = None if None in ends else 100 * sum(ends)
    return [
        Cell(str(entry["site"])),
        Cell(str(entry["gate"])),
        Cell(entry["map"]),
        Cell(_range(entry), entry["mean"], bar=_bar(entry, low, high)),
        *(Cell(fixed(entry[key], 3), entry[key]) for key in ("mean", "sd", "sd_images", "sd_within")),
        Cell(ABSENT if saturated is None else f"{100 * ends[0]:.0f} + {100 * ends[1]:.0f}", saturated),
        Cell(fixed(entry["gain"], 3), entry["gain"]),
        *(Cell(short(entry[key]), entry[key]) for key in more),
        Cell(str(entry["n"]), entry["n"]),
    ]


def _range(entry: Mapping[str, Any]) -> str:
    return ABSENT if entry["low"] is None else f"{fixed(entry['low'])} to {fixed(entry['high'])}"


def _bar(entry: Mapping[str, Any], low: float, high: float) -> Bar | None:
    if any(entry[key] is None for key in ("low", "high", "mean", "sd")):
        return None
    mean, sd = entry["mean"], entry["sd"]

    def share(value: float) -> float:
        return round(100 * min(max((value - low) / (high - low), 0), 1), 2)

    return Bar(*map(share, (entry["low"], entry["high"], mean - sd, mean + sd, mean)))
