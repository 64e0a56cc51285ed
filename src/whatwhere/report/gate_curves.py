"""What the gates of one arm did while they were trained: a line a site, the mean over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whatwhere.report.lines import HEIGHT, Points, mean_line, svg_path
from whatwhere.report.scales import Axis, axis
from whatwhere.report.trials import GATE_FIGURES
from whatwhere.report.words import short

__all__ = ["GateCurves", "GateDrawing", "GateLine", "gate_curves"]

_NAMES = {"drift": "drift", "sd_images": "between images"}
# More lines than this cannot be told apart.
_SITES = 8
# Letters beside a drawing stand so far apart, in percent of its height.
_APART = 9.0
_HEADROOM = 1.05

History = Mapping[str, Mapping[str, Points]]


@dataclass(frozen=True)
class GateLine:
    """One site's SVG path, its place among those drawn, and where its letter stands: percent of the height."""

    site: int
    path: str
    label: float


@dataclass(frozen=True)
class GateDrawing:
    """One measure of all sites drawn; ``width`` and ``height`` are in the drawing's own units."""

    x: Axis
    y: Axis
    width: float
    height: int
    lines: tuple[GateLine, ...]


@dataclass(frozen=True)
class GateCurves:
    """The drawings of one arm.

    Args:
        drawings: one a measure that any site has.
        sites: of each site drawn its letter, its name, and its last figures in words.
        known: how many sites could be drawn.
        seeds: how many trials the lines are means of.
    """

    drawings: tuple[GateDrawing, ...]
    sites: tuple[tuple[str, str, str], ...]
    known: int
    seeds: int


def gate_curves(seeds: Sequence[History]) -> GateCurves | None:
    """Drawings of these trials' histories; None where no site has a figure."""
    names = dict.fromkeys(site for history in seeds for site in history)
    known = [(site, lines) for site in names if any((lines := _means(seeds, site)).values())]
    if not known:
        return None
    drawn = [known[place] for place in _spread(len(known))]
    x = axis("epoch", [epoch for _, lines in drawn for points in lines.values() for epoch in points], whole=True)
    measures = {
        key: {place: lines[key] for place, (_, lines) in enumerate(drawn) if lines[key]} for key in GATE_FIGURES
    }
    drawings = tuple(_drawing(_NAMES[key], x, lines) for key, lines in measures.items() if lines)
    sites = tuple((chr(ord("a") + place), site, _last(lines)) for place, (site, lines) in enumerate(drawn))
    return GateCurves(drawings, sites, len(known), len(seeds))


def _means(seeds: Sequence[History], site: str) -> dict[str, Points]:
    """Measure by measure, over the seeds that know the site."""
    found = [history[site] for history in seeds if site in history]
    return {key: mean_line([measures[key] for measures in found]) for key in GATE_FIGURES}


def _spread(count: int) -> list[int]:
    """Places evenly spaced from the first to the last; all where they are few."""
    if count <= _SITES:
        return list(range(count))
    return [round(place * (count - 1) / (_SITES - 1)) for place in range(_SITES)]


def _drawing(title: str, x: Axis, lines: Mapping[int, Points]) -> GateDrawing:
    """The axis starts at 0, where a gate stands still, or is the same for every image."""
    highest = max(max(points.values()) for points in lines.values())
    y = axis(title, [0.0, _HEADROOM * highest or 1.0], ticks=5)
    labels = _apart({place: y.share(points[max(points)]) for place, points in lines.items()})
    drawn = tuple(GateLine(place, svg_path(points.items(), x, y), labels[place]) for place, points in lines.items())
    return GateDrawing(x, y, x.high - x.low, HEIGHT, drawn)


def _apart(heights: Mapping[int, float]) -> dict[int, float]:
    """Moved up as far as they must to stand apart and above the ground, and down again where that went over the top."""
    found: dict[int, float] = {}
    above = -_APART / 2
    for place in sorted(heights, key=lambda place: heights[place]):
        above = found[place] = max(heights[place], above + _APART)
    below = 100 + _APART / 2
    for place in reversed(found):
        below = found[place] = round(min(found[place], below - _APART), 2)
    return found


def _last(lines: Mapping[str, Points]) -> str:
    return ", ".join(f"{_NAMES[key]} {short(points[max(points)], 2)}" for key, points in lines.items() if points)
