"""One comparison's folder, finished or not, and what is wrong with it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatwhere.errors import WhatwhereError, first_line
from whatwhere.experiments import Comparison
from whatwhere.experiments.measures import measure_of
from whatwhere.report.arms import Arm, arms_of_results, arms_of_summary, same_seeds
from whatwhere.report.trials import Trial, read_trial

__all__ = ["Run", "Unreadable", "read_json", "read_run"]

_SUMMARY_AGES = (
    "summary.json does not agree with the results in the trials' folders; scores and differences here were "
    "computed from the results"
)
# So many trials of a kind are named; the table of trials has them all.
_NAMED = 6
_NO_SUMMARY = "There is no summary.json yet; the figures here were computed from the results, and times are not known"
_NO_TRIALS = "The trials' folders are not here: there is only what summary.json says, and no learning curves"


class Unreadable(Exception):
    """A file or a folder that is not what its name says; the text says why."""


@dataclass(frozen=True)
class Run:
    """One comparison.

    Args:
        name: its folder's.
        setting: host, data, seeds, recipe and so on, as in ``comparison.json``.
        arms: in the order of the page; the bare host first.
        trials: all that were declared; empty where their folders are not there.
        summary: ``summary.json``, {} without one.
        problems: what is missing, torn or not to be believed; each a sentence without its stop.
    """

    name: str
    setting: Mapping[str, Any]
    arms: tuple[Arm, ...]
    trials: tuple[Trial, ...]
    summary: Mapping[str, Any]
    problems: tuple[str, ...]

    @property
    def measure(self) -> str:
        """What the arms are compared by."""
        results = (trial.result.measure for trial in self.trials if trial.result is not None)
        return measure_of(self.summary) if self.summary else next(results, "accuracy")


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        Unreadable: it is not there, or something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise Unreadable(f"{path.name} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path.name}: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise Unreadable(f"{path.name}: it holds no JSON object")
    return found


def read_run(folder: Path) -> Run:
    """Read a folder that ``compare`` wrote.

    Where ``summary.json`` says what the trials' results say, it is taken; else the figures are computed anew.

    Raises:
        Unreadable: there is nothing to show.
    """
    problems: list[str] = []
    try:
        summary = read_json(folder / "summary.json")
        setting = summary.get("comparison")
    except Unreadable as error:
        summary, setting = {}, None
        if (folder / "summary.json").exists():
            problems.append(f"summary.json cannot be read ({error})")
    try:
        setting = read_json(folder / "comparison.json")
    except Unreadable as error:
        if not isinstance(setting, dict):
            raise
        if (folder / "comparison.json").exists():
            problems.append(f"comparison.json cannot be read ({error}); summary.json was taken at its word")
    trials = _trials(folder, setting, problems)
    arms = _arms(summary, setting, trials, problems)
    shown = {key: value for key, value in setting.items() if key not in ("format", "setting", "trials")}
    return Run(folder.resolve().name, shown, tuple(arms), tuple(trials), summary, (*problems, *_told(trials)))


def _trials(folder: Path, setting: Mapping[str, Any], problems: list[str]) -> list[Trial]:
    try:
        comparison = Comparison.from_json(setting)
        place = folder / setting.get("trials", ".")  # several comparisons can share theirs
        specs = [(arm, comparison.trial(arm, seed)) for seed in range(comparison.seeds) for arm in comparison.gates]
    except (KeyError, TypeError, ValueError, AttributeError, WhatwhereError) as error:
        problems.append(f"its trials cannot be told from comparison.json ({first_line(error)})")
        return []
    if not any((place / spec.name).exists() for _, spec in specs):
        return [] if (folder / "summary.json").exists() else [Trial(arm, spec, "not started") for arm, spec in specs]
    return [read_trial(arm, spec, place / spec.name) for arm, spec in specs]


def _arms(
    summary: Mapping[str, Any], setting: Mapping[str, Any], trials: Sequence[Trial], problems: list[str]
) -> list[Arm]:
    seeds = setting.get("seeds")
    declared = seeds if isinstance(seeds, int) else 0
    known: list[Arm] = []
    if summary:
        try:
            known = arms_of_summary(summary, declared)
        except ValueError as error:
            problems.append(f"summary.json cannot be read ({error})")
    if known and not trials:
        problems.append(_NO_TRIALS)
    if known and (not trials or same_seeds(known, trials)):
        return known
    if not trials:
        raise Unreadable("; ".join(problems) or "there is nothing to show")
    problems.append(_SUMMARY_AGES if known else _NO_SUMMARY)
    return sorted(arms_of_results(trials, known, declared), key=lambda arm: arm.name != "none")


def _told(trials: Sequence[Trial]) -> list[str]:
    """Sentences about the trials that gave no figure, and about oddities of those that did."""
    told = []
    trials = list({trial.spec.name: trial for trial in trials}.values())  # two arms can be one trial
    for state in ("claimed", "not finished", "not started"):
        those = [_named(trial) for trial in trials if trial.state == state]
        if those:
            shown = [*those[:_NAMED], *([f"and {len(those) - _NAMED} more"] if len(those) > _NAMED else [])]
            told.append(f"{_count(len(those), 'trial')} {state}: {', '.join(shown)}")
    broken = [f"{trial.spec.name}: {trial.why}" for trial in trials if trial.state == "broken"]
    if broken:
        told.append(f"{_count(len(broken), 'result')} cannot be believed: {'; '.join(broken)}")
    for remark in dict.fromkeys(remark for trial in trials for remark in trial.remarks):
        told.append(f"{', '.join(trial.spec.name for trial in trials if remark in trial.remarks)}: {remark}")
    return told


def _named(trial: Trial) -> str:
    if trial.state == "not started":
        return trial.spec.name
    words = [f"{max(trial.epochs, default=0)} of {trial.spec.recipe.epochs} epochs", trial.why]
    return f"{trial.spec.name} ({'; '.join(word for word in words if word)})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
