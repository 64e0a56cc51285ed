"""`compare`: gates against the bare host, from the check of every word to the table."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError, first_line
from whatwhere.experiments.arm_names import YARDSTICK
from whatwhere.experiments.arms import Arm, ArmCost, arm_cost
from whatwhere.experiments.atomic import check_writable, write_bytes, write_json, write_text
from whatwhere.experiments.facts import arm_facts
from whatwhere.experiments.picture import draw
from whatwhere.experiments.runner import finished_trials, run_trials
from whatwhere.experiments.spec import Comparison
from whatwhere.experiments.summary import summarise
from whatwhere.experiments.table import grid
from whatwhere.experiments.tasks import kind_of
from whatwhere.experiments.watch import Watch
from whatwhere.train.feeding import check_batch
from whatwhere.train.launch import is_first, processes
from whatwhere.train.loggers import check_loggers
from whatwhere.train.ranks import Ranks

__all__ = ["compare"]


def compare(
    comparison: Comparison,
    out: Path,
    *,
    trials: Path | None = None,
    root: Path | None = None,
    watch: Watch | None = None,
    loggers: Sequence[str] = (),
) -> dict[str, Any]:
    """Train every arm with every seed, then write ``summary.json``, ``table.md`` and ``picture.png`` into ``out``.

    Every name is checked, every arm built and counted and ``out`` written to before the first training. Finished trials
    are skipped and broken-off ones continue, so the same call again completes what an interruption left. A trial that
    fails does not keep the others from running. What was finished is summarised before any error passes on, Ctrl-C
    included. A comparison whose trials are all finished can be had again from a folder that takes no files any more.

    Args:
        comparison: what to train.
        out: the folder, made if need be.
        trials: where each trial has a sub-folder, shared with other comparisons if you like; None is ``out``.
        root: where the data are, for data sets that are read from disk.
        watch: told what happens.
        loggers: as in ``train``.

    Several processes that were started to train together (``launch``) all make this call; the first writes.

    Returns:
        The summary, as in ``summary.json``.

    Raises:
        RunError: the gates lack "none" or repeat one, ``out`` cannot be written or holds another comparison, a library
            is missing, or trials fail.
        DataError, HostError, AttachError, GateError: data, host or gate cannot be had, or the images are too small.
    """
    watch, trials = watch or Watch(), trials or out
    _check(comparison)
    check_loggers(loggers)
    check_batch(comparison.recipe, Ranks(world=processes()))
    closed = _closed(out)
    kind = kind_of(comparison.task)
    splits = kind.load(comparison, root)
    comparison = kind.settled(comparison, splits)
    _check_same(comparison, out)
    arms, costs = _arms(comparison, splits)
    summary = partial(_summary, comparison, trials, splits, arms, costs)
    specs = comparison.trials()
    if closed is None and is_first():
        where = os.path.relpath(trials, out)
        told = {"format": 1, "trials": where, **comparison.to_json(), "setting": comparison.setting()}
        write_json(out / "comparison.json", told)
    if closed is not None and len(finished_trials(specs, trials)) < len(specs):
        raise closed
    try:
        run_trials(specs, trials, splits, watch, loggers)
    except BaseException:
        try:
            if is_first():
                _publish(summary(timed=False), out)
        except Exception as error:  # whatever it was, the first error is the one to tell
            watch.warned(f"what was finished could not be summarised: {first_line(error)}")
        raise
    if not is_first():
        return summary(timed=False)
    found = summary(timed=True)
    if closed is None:
        _publish(found, out)
    else:
        watch.warned(f"{out} takes no files ({closed.got}): this summary was not written")
    return found


def _check(comparison: Comparison) -> None:
    call = f"compare(gates={','.join(comparison.gates)!r})"
    if YARDSTICK not in comparison.gates:
        fix = f"gates={','.join((YARDSTICK, *comparison.gates))!r}"
        raise RunError(f"{call}: {YARDSTICK!r}, the bare host as the yardstick, is missing", fix=fix)
    repeated = [gate for gate in dict.fromkeys(comparison.gates) if comparison.gates.count(gate) > 1]
    if repeated:
        raise RunError(f"{call}: {repeated[0]!r} is named twice", fix="name each gate once")
    same = _same_trial(comparison)
    if same:
        raise RunError(f"{call}: {same[0]!r} and {same[1]!r} are one arm", fix="name each arm once")
    if comparison.seeds < 1:
        raise RunError("compare(seeds=...): there must be at least one seed", got=f"seeds={comparison.seeds}")
    missing = [library for library in ("accelerate", "scipy", "matplotlib") if find_spec(library) is None]
    if missing:
        words = ", ".join(missing)
        raise RunError(f"compare: {words} must be installed first", fix="pip install 'whatwhere[lab]'")


def _same_trial(comparison: Comparison) -> tuple[str, str] | None:
    """Two names that mean the same training, such as "bam" and "bam@bottlenecks"."""
    first: dict[str, str] = {}
    for arm in comparison.gates:
        known = first.setdefault(comparison.trial(arm, 0).hash, arm)
        if known != arm:
            return known, arm
    return None


def _closed(out: Path) -> RunError | None:
    """What keeps ``out`` from being written, if something does and the folder may hold a finished comparison."""
    try:
        check_writable(out, f"compare(out={str(out)!r})")
    except RunError as error:
        if not os.path.exists(out / "comparison.json"):
            raise
        return error
    return None


def _arms(comparison: Comparison, splits: Any) -> tuple[dict[str, Arm], dict[str, ArmCost]]:
    """All arms and their costs; the bare host first, for images that it cannot take are no gate's fault."""
    arms, costs, kind = {}, {}, kind_of(comparison.task)
    for gate in sorted(comparison.gates, key=lambda gate: gate != YARDSTICK):
        arms[gate] = kind.build(comparison.trial(gate, 0), splits)
        dense = kind.dense(arms[gate].model, splits)
        costs[gate] = arm_cost(arms[gate].model, *dense, comparison.recipe.batch_size)
    return arms, costs


def _check_same(comparison: Comparison, out: Path) -> None:
    path = out / "comparison.json"
    if not path.exists():
        return
    here = comparison.setting()
    try:
        there = json.loads(path.read_text())["setting"]
        # what an older release does not say is as it was when there was no choice
        there = {**Comparison("", (), "").setting(), **there}
        differing = [key for key in here if there[key] != here[key]]
    except (ValueError, KeyError, TypeError) as error:
        fix = f"delete {path} if the folder is this comparison's, or name another one"
        raise RunError(f"compare(out={str(out)!r}): its comparison.json cannot be read", fix=fix) from error
    if differing:
        raise RunError(
            f"compare(out={str(out)!r}): the folder holds another comparison",
            got="; ".join(f"{key}: {there.get(key)!r} there, {here[key]!r} here" for key in differing),
            fix="name another folder for this comparison",
        )


def _summary(
    comparison: Comparison,
    trials: Path,
    splits: Any,
    arms: Mapping[str, Arm],
    costs: Mapping[str, ArmCost],
    *,
    timed: bool,
) -> dict[str, Any]:
    kind = kind_of(comparison.task)
    dense = {gate: kind.dense(arm.model, splits) for gate, arm in arms.items()}
    facts = arm_facts(arms, dense, costs, comparison.recipe, timed=timed)
    return summarise(comparison, facts, finished_trials(comparison.trials(), trials), splits)


def _publish(summary: Mapping[str, Any], out: Path) -> None:
    write_json(out / "summary.json", summary)
    write_text(out / "table.md", grid(summary).markdown())
    write_bytes(out / "picture.png", draw(summary))
