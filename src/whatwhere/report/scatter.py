"""Accuracy against what it costs, and the arms that no other beats in both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whatwhere.experiments.measures import MEASURES
from whatwhere.report.arms import Arm
from whatwhere.report.runs import Run
from whatwhere.report.scales import Axis, axis
from whatwhere.report.words import count, fixed, mean_and_sd, short

__all__ = ["Point", "Scatter", "front", "scatters"]

_COSTS: Sequence[tuple[str, str, Callable[[float], str]]] = (
    ("parameters", "parameters", count),
    ("macs", "MACs of a forward, per image", lambda value: f"{fixed(value / 1e6)} M"),
    ("bytes_kept", "bytes kept for backward, per image", lambda value: f"{count(value / 1e3)} kB"),
    ("ms", "milliseconds of a forward, per image", lambda value: f"{short(value)} ms"),
)


@dataclass(frozen=True)
class Point:
    """An arm's place, in percent from the left and from the bottom, its interval and its words."""

    arm: int
    name: str
    left: float
    bottom: float
    low: float | None
    high: float | None
    words: str
    best: bool


@dataclass(frozen=True)
class Scatter:
    """Accuracy against one cost; ``front`` is the SVG path of the Pareto front, in percent from the top left."""

    key: str
    title: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    front: str


def scatters(run: Run) -> list[Scatter]:
    """A drawing for each cost that is known of an arm with a score."""
    return [drawing for cost in _COSTS if (drawing := _scatter(run, *cost)) is not None]


def front(places: Sequence[tuple[float, float]]) -> list[bool]:
    """Which (cost, score) no other beats: one that costs no more and is as good, and is not the same in both."""
    return [
        not any(cost <= own_cost and score >= own and (cost, score) != (own_cost, own) for cost, score in places)
        for own_cost, own in places
    ]


def _scatter(run: Run, key: str, title: str, words: Callable[[float], str]) -> Scatter | None:
    known = [
        (place, arm, cost, mean)
        for place, arm in enumerate(run.arms)
        if (cost := getattr(arm, key)) is not None and (mean := arm.score.get("mean")) is not None
    ]
    if not known:
        return None
    places = [(cost, mean) for _, _, cost, mean in known]
    ends = [arm.score.get(end) for _, arm, _, _ in known for end in ("low", "high")]
    x = axis(title, [cost for cost, _ in places], margin=0.08)
    seen = [*(mean for _, mean in places), *(end for end in ends if end is not None)]
    y = axis(f"test {MEASURES[run.measure]}, %", seen, margin=0.08)
    best = front(places)
    points = [
        _point(place, arm, x.share(cost), y, f"{mean_and_sd(arm.score)} %, {words(cost)}", is_best)
        for (place, arm, cost, _), is_best in zip(known, best, strict=True)
    ]
    on_front = sorted({spot for spot, is_best in zip(places, best, strict=True) if is_best})
    return Scatter(key, title, x, y, tuple(points), _staircase([(x.share(c), 100 - y.share(m)) for c, m in on_front]))


def _point(place: int, arm: Arm, left: float, y: Axis, words: str, best: bool) -> Point:
    mean, low, high = (arm.score.get(key) for key in ("mean", "low", "high"))
    return Point(
        arm=place,
        name=arm.name,
        left=left,
        bottom=y.share(mean or 0.0),
        low=None if low is None else y.share(low),
        high=None if high is None else y.share(high),
        words=words + (", on the Pareto front" if best else ""),
        best=best,
    )


def _staircase(corners: Sequence[tuple[float, float]]) -> str:
    """From each corner to the right, then up to the next; the last goes on to the edge."""
    (x, y), *others = corners
    steps = "".join(f"H{right:g}V{top:g}" for right, top in others)
    return f"M{x:g} {y:g}{steps}H100"
