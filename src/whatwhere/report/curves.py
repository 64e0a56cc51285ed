"""Learning curves: one line a seed, the mean over the seeds, and a band of one standard deviation around it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whatwhere.report.lines import HEIGHT, Points, mean_line, svg_path
from whatwhere.report.runs import Run
from whatwhere.report.scales import Axis, axis
from whatwhere.report.trials import METRICS

__all__ = ["Curves", "Line", "curves"]

_NAMES = {
    "validation_accuracy": ("validation accuracy, %", 100.0),
    "validation_loss": ("validation loss", 1.0),
    "train_accuracy": ("training accuracy, %", 100.0),
    "train_loss": ("training loss", 1.0),
    "validation_ap": ("validation AP, %", 100.0),
    "validation_ap50": ("validation AP50, %", 100.0),
    "validation_voc07": ("validation VOC07 mAP, %", 100.0),
}
# A diverged loss must not flatten all others: the axis ends at so many times the value that 98 in 100 stay below.
_CUT = 1.5


@dataclass(frozen=True)
class Line:
    """One arm's SVG paths: each seed's, the mean's and the band's ("" where there is one seed)."""

    arm: int
    seeds: tuple[tuple[int, str], ...]
    mean: str
    band: str


@dataclass(frozen=True)
class Curves:
    """One metric of all arms.

    Args:
        key: the metric's.
        title: its name.
        x, y: the axes.
        width, height: of the drawing in its own units.
        lines: one an arm that has epochs.
        values: the mean of each arm, epoch by epoch from ``first``; None where there is none.
        first: the first epoch.
        cut: whether values lie above the axis.
    """

    key: str
    title: str
    x: Axis
    y: Axis
    width: float
    height: int
    lines: tuple[Line, ...]
    values: Mapping[int, Sequence[float | None]]
    first: int
    cut: bool


def curves(run: Run) -> list[Curves]:
    """One drawing for each metric that any trial has."""
    return [drawing for key in METRICS if (drawing := _curves(run, key)) is not None]


def _curves(run: Run, key: str) -> Curves | None:
    title, factor = _NAMES[key]
    found: dict[int, list[tuple[int, Points]]] = {}
    for place, arm in enumerate(run.arms):
        for trial in run.trials:
            points = {epoch: factor * values[key] for epoch, values in trial.epochs.items() if key in values}
            if trial.arm == arm.name and points:
                found.setdefault(place, []).append((trial.spec.seed, points))
    if not found:
        return None
    seen = [value for seeds in found.values() for _, points in seeds for value in points.values()]
    epochs = [epoch for seeds in found.values() for _, points in seeds for epoch in points]
    top = _CUT * sorted(seen)[math.ceil(0.98 * len(seen)) - 1]
    shown = [min(value, top) for value in seen] if key.endswith("loss") else seen
    x, y = axis("epoch", epochs, whole=True), axis(title, shown, margin=0.04)
    lines = tuple(_line(place, seeds, x, y) for place, seeds in found.items())
    first, last = min(epochs), max(epochs)
    values = {}
    for place, seeds in found.items():
        middle = mean_line([points for _, points in seeds])
        values[place] = [_rounded(middle.get(epoch)) for epoch in range(first, last + 1)]
    return Curves(key, title, x, y, x.high - x.low, HEIGHT, lines, values, first, max(seen) > max(shown))


def _line(arm: int, seeds: Sequence[tuple[int, Points]], x: Axis, y: Axis) -> Line:
    all_points = [points for _, points in seeds]
    middle = mean_line(all_points)
    spread = {epoch: _sd([points[epoch] for points in all_points if epoch in points]) for epoch in middle}
    wide = [epoch for epoch in middle if spread[epoch] is not None]
    band = ""
    if wide:
        upper = [(epoch, middle[epoch] + (spread[epoch] or 0)) for epoch in wide]
        lower = [(epoch, middle[epoch] - (spread[epoch] or 0)) for epoch in wide]
        band = svg_path([*upper, *reversed(lower)], x, y, gaps=False) + "z"
    drawn = tuple((seed, svg_path(points.items(), x, y)) for seed, points in seeds) if len(seeds) > 1 else ()
    return Line(arm, drawn, svg_path(middle.items(), x, y), band)


def _sd(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
