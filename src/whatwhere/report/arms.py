"""What is known of each arm, from a summary or, where that says something else, from the results themselves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from whatwhere.experiments import compare_arms, describe
from whatwhere.experiments.measures import measure_of
from whatwhere.report.trials import Trial

__all__ = ["Arm", "arms_of_results", "arms_of_summary", "number", "same_seeds"]


@dataclass(frozen=True)
class Arm:
    """One arm's figures; None where they are not known.

    Accuracies are percent, costs per image. ``difference`` is the summary's: paired, in percentage points.
    """

    name: str
    at: str | None = None
    start: str | None = None
    sites: tuple[str, ...] = ()
    parameters: float | None = None
    macs: float | None = None
    bytes_kept: float | None = None
    ms: float | None = None
    declared: int | None = None
    score: Mapping[str, float | None] = field(default_factory=dict)
    seeds: Mapping[int, float] = field(default_factory=dict)
    difference: Mapping[str, Any] = field(default_factory=dict)


def number(value: Any) -> float | None:
    """``value`` if it is a finite number, else None; what stands in a file may be anything."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def arms_of_summary(summary: Mapping[str, Any], declared: int) -> list[Arm]:
    """The arms that ``summary.json`` lists.

    Raises:
        ValueError: it lists none, or something else in their place.
    """
    found = summary.get("arms")
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise ValueError("it lists no arms")
    if not all(isinstance(_name(one), str) for one in found):
        raise ValueError("an arm has no name")
    return [_of_summary(one, measure_of(summary), declared) for one in found]


def _name(arm: Mapping[str, Any]) -> Any:
    return arm.get("arm") or arm.get("gate")


def _of_summary(arm: Mapping[str, Any], measure: str, declared: int) -> Arm:
    sites, seeds = arm.get("sites"), _mapping(arm.get("seeds"))
    said = number(arm.get("declared"))
    return Arm(
        name=_name(arm),
        at=_text(arm.get("at")),
        start=_text(arm.get("start")),
        sites=tuple(str(site) for site in sites) if isinstance(sites, list) else (),
        parameters=number(arm.get("parameters")),
        macs=number(arm.get("macs_per_image")),
        bytes_kept=number(arm.get("bytes_kept_per_image")),
        ms=number(arm.get("ms_per_image")),
        declared=declared if said is None else int(said),
        score={key: number(value) for key, value in _mapping(arm.get(measure)).items()},
        seeds={int(seed): value for seed, value in seeds.items() if seed.isdecimal() and number(value) is not None},
        difference={key: value for key, value in _mapping(arm.get("difference")).items() if _plain(value)},
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _plain(value: Any) -> bool:
    return isinstance(value, str) or number(value) is not None


def same_seeds(arms: Sequence[Arm], trials: Sequence[Trial]) -> bool:
    """Whether the arms' scores are those of the finished trials, seed by seed."""
    values = _values(trials)
    return {arm.name for arm in arms} == set(values) and all(
        arm.seeds.keys() == values[arm.name].keys()
        and all(math.isclose(arm.seeds[seed], value, abs_tol=1e-9) for seed, value in values[arm.name].items())
        for arm in arms
    )


def arms_of_results(trials: Sequence[Trial], known: Sequence[Arm], declared: int) -> list[Arm]:
    """The arms of ``trials``, computed anew from what is finished; ``known`` gives what no result says."""
    values = _values(trials)
    differences = {name: asdict(one) for name, one in compare_arms(values, declared=declared).items()}
    before = {arm.name: arm for arm in known}
    of_arm = {name: [trial for trial in trials if trial.arm == name] for name in values}
    return [
        _of_results(of_arm[name], seeds, differences.get(name, {}), before, declared) for name, seeds in values.items()
    ]


def _values(trials: Sequence[Trial]) -> dict[str, dict[int, float]]:
    values: dict[str, dict[int, float]] = {trial.arm: {} for trial in trials}
    for trial in trials:
        if trial.result is not None:
            values[trial.arm][trial.spec.seed] = 100 * trial.result.score
    return values


def _of_results(
    trials: Sequence[Trial],
    seeds: Mapping[int, float],
    difference: Mapping[str, Any],
    known: Mapping[str, Arm],
    declared: int,
) -> Arm:
    spec = trials[0].spec
    before = known.get(trials[0].arm, Arm(trials[0].arm))
    result = next((trial.result for trial in trials if trial.result is not None), None)
    return Arm(
        name=trials[0].arm,
        at=spec.at,
        start=spec.start,
        sites=result.sites if result else before.sites,
        parameters=result.parameters if result else before.parameters,
        macs=result.macs if result else before.macs,
        bytes_kept=result.bytes_kept if result else before.bytes_kept,
        ms=before.ms,
        declared=declared,
        score=asdict(describe(list(seeds.values()))) if seeds else {},
        seeds=seeds,
        difference={key: value for key, value in difference.items() if _plain(value)},
    )
