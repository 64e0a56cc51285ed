"""The tables of what maps are worth, and of what gates do, for the pages that show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Score
from whatwhere.report.tables import Bar, Cell, Column, Table
from whatwhere.report.words import ABSENT, fixed, short

__all__ = ["Scored", "diagnoses_table", "score_tables"]

_SCORES = {
    "pointing": "how often the map's highest point lies on the object",
    "energy": "the share of the map's sum that lies on the object",
    "iou": "overlap of object and map over their union, the map cut at the threshold that is best over all pictures",
    "insertion": "mean probability of the class while pixels are put in, the map's highest first: high is good",
    "deletion": "mean probability of the class while pixels are taken out, the map's highest first: low is good",
    "road": "how much sooner the class is lost when pixels are blurred away from the map's highest than from its "
    "lowest: above 0 is good",
}
_DIAGNOSES = {
    "mean": ("mean", "of the factor over images, channels and positions"),
    "sd_images": (
        "over images",
        "standard deviation over images at one channel and position: 0 means that it is fixed",
    ),
    "sd_within": ("within", "standard deviation inside an image: 0 means that it weighs everything alike"),
    "saturated": ("saturated", "share of the factor in the lowest and in the highest twentieth of the gate's range"),
    "entropy": ("entropy", "of the position map, as a share of an even map's: 1 weighs all positions alike"),
    "dead": ("dead", "share of the channels that no image raises out of the lowest twentieth"),
    "classes": ("classes", "share of the channels' variance over images that lies between classes"),
    "flipped": ("flipped", "share of the images whose predicted class changes with this gate alone switched off"),
    "moved": ("moved", "how far the probabilities then move: mean total variation, 0 to 1"),
}


@dataclass(frozen=True)
class Scored:
    """One score: its name, what it is, and the table of maps by networks."""

    name: str
    meaning: str
    table: Table


def score_tables(networks: Sequence[tuple[str, Sequence[Score]]]) -> list[Scored]:
    """A table for each score that any of the networks, by name, has, in a fixed order."""
    found = {score.score for _, scores in networks for score in scores}
    return [Scored(name, _SCORES[name], _score_table(networks, name)) for name in _SCORES if name in found]


def _score_table(networks: Sequence[tuple[str, Sequence[Score]]], name: str) -> Table:
    several = len(networks) > 1
    columns = [
        Column("map", numeric=False),
        *([Column("network", numeric=False)] if several else []),
        Column("mean [95 % interval]"),
        Column("chance"),
        Column("pictures"),
    ]
    found = [(network, score) for network, scores in networks for score in scores if score.score == name]
    order = list(dict.fromkeys(score.map for _, score in found))
    found.sort(key=lambda pair: order.index(pair[1].map))
    rows = [
        [Cell("CAM" if score.map == "cam" else score.map), *([Cell(network)] if several else []), *_score(score)]
        for network, score in found
    ]
    return Table(f"{name} of each map", columns, rows)


def _score(score: Score) -> list[Cell]:
    found, chance = score.moments, score.chance
    lowest = -1 if score.score == "road" else 0
    low, mean, high, start = (
        100 * (min(max(value, lowest), 1) - lowest) / (1 - lowest)
        for value in (found.mean if other is None else other for other in (found.low, found.mean, found.high, chance))
    )
    bounded = found.low is not None and found.high is not None
    interval = f" [{fixed(found.low, 3)}, {fixed(found.high, 3)}]" if bounded else ""
    bar = Bar(low=min(start, mean), high=max(start, mean), thick_low=low, thick_high=high, middle=mean)
    return [
        Cell(fixed(found.mean, 3) + interval, found.mean, bar=bar),
        Cell(fixed(chance, 3), chance),
        Cell(str(found.n), found.n),
    ]


def diagnoses_table(name: str, diagnoses: Sequence[Diagnosis]) -> Table:
    """The gates of the network ``name``, one row a site; a column that no site has is left out."""
    keys = [key for key in _DIAGNOSES if any(_diagnosed(found, key) != Cell(ABSENT) for found in diagnoses)]
    columns = [
        Column("site", numeric=False),
        Column("gate", numeric=False),
        Column("map", help="rows × columns of the map that the gate reads"),
        *(Column(_DIAGNOSES[key][0], help=_DIAGNOSES[key][1]) for key in keys),
    ]
    return Table(f"diagnosis of {name}", columns, [_diagnosis(found, keys) for found in diagnoses])


def _diagnosis(found: Diagnosis, keys: Sequence[str]) -> list[Cell]:
    return [
        Cell(found.site),
        Cell(found.gate),
        Cell("×".join(map(str, found.size)), prod(found.size)) if found.size else Cell(ABSENT),
        *(_diagnosed(found, key) for key in keys),
    ]


def _diagnosed(found: Diagnosis, key: str) -> Cell:
    if key != "saturated":
        value = getattr(found, key)
        return Cell(short(value), value)
    low, high = found.saturated_low, found.saturated_high
    return Cell(ABSENT) if low is None or high is None else Cell(f"{short(low)}, {short(high)}", low + high)
