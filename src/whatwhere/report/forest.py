"""Each arm's difference to the bare host, with its interval, on one axis."""

from dataclasses import dataclass

from whatwhere.report.arms import number
from whatwhere.report.runs import Run
from whatwhere.report.scales import Axis, axis
from whatwhere.report.words import value_and_interval

__all__ = ["Branch", "Forest", "forest"]


@dataclass(frozen=True)
class Branch:
    """An arm's mean difference and its ends, in percent of the axis; None where there is no interval."""

    arm: int
    name: str
    mean: float
    low: float | None
    high: float | None
    words: str
    verdict: str


@dataclass(frozen=True)
class Forest:
    """The axis, where "no difference" falls on it, and the arms."""

    x: Axis
    zero: float
    branches: tuple[Branch, ...]


def forest(run: Run) -> Forest | None:
    """The differences that are known; None when there are none."""
    known = [(place, arm) for place, arm in enumerate(run.arms) if number(arm.difference.get("mean")) is not None]
    if not known:
        return None
    ends = [number(arm.difference.get(key)) for _, arm in known for key in ("mean", "low", "high")]
    x = axis("difference to none, percentage points", [0.0, *(end for end in ends if end is not None)], margin=0.05)

    def share(value: float | None) -> float | None:
        return None if value is None else x.share(value)

    branches = [
        Branch(
            arm=place,
            name=arm.name,
            mean=x.share(arm.difference["mean"]),
            low=share(number(arm.difference.get("low"))),
            high=share(number(arm.difference.get("high"))),
            words=value_and_interval(arm.difference),
            verdict=str(arm.difference.get("verdict", "")),
        )
        for place, arm in known
    ]
    return Forest(x, x.share(0.0), tuple(branches))
