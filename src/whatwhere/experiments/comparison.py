"""`compare`: gates against the bare host, from the check of every word to the table."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from whatwhere import hosts
from whatwhere.data import Splits, load
from whatwhere.errors import HostError, RunError, first_line
from whatwhere.experiments.arms import Arm, ArmCost, arm_cost, build_arm
from whatwhere.experiments.atomic import check_writable, write_bytes, write_json, write_text
from whatwhere.experiments.facts import arm_facts
from whatwhere.experiments.picture import draw
from whatwhere.experiments.runner import finished_trials, run_trials
from whatwhere.experiments.spec import YARDSTICK, Comparison
from whatwhere.experiments.summary import summarise
from whatwhere.experiments.table import markdown
from whatwhere.experiments.watch import Watch

__all__ = ["compare"]


def compare(
    comparison: Comparison, out: Path, *, root: Path | None = None, watch: Watch | None = None
) -> dict[str, Any]:
    """Train every arm with every seed, then write ``summary.json``, ``table.md`` and ``picture.png`` into ``out``.

    Every name is checked, every arm built and counted and ``out`` written to before the first training. Finished trials
    are skipped and broken-off ones continue, so the same call again completes what an interruption left. A trial that
    fails does not keep the others from running. What was finished is summarised before any error passes on, Ctrl-C
    included. A comparison whose trials are all finished can be had again from a folder that takes no files any more.

    Args:
        comparison: what to train.
        out: the folder, made if need be; each trial has a sub-folder.
        root: where the data are, for data sets that are read from disk.
        watch: told what happens.

    Returns:
        The summary, as in ``summary.json``.

    Raises:
        RunError: the gates lack "none" or repeat one, ``out`` cannot be written or holds another comparison, a library
            is missing, or trials fail.
        DataError, HostError, AttachError, GateError: data, host or gate cannot be had, or the images are too small.
    """
    watch = watch or Watch()
    _check(comparison)
    closed = _closed(out)
    splits = load(
        comparison.data,
        root=root,
        seed=comparison.split_seed,
        limit=comparison.limit,
        image_size=comparison.image_size,
    )
    comparison = replace(comparison, data=splits.name, stem=comparison.stem or _stem(comparison.host, splits))
    _check_same(comparison, out)
    arms, costs = _arms(comparison, splits)
    summary = partial(_summary, comparison, out, splits, arms, costs)
    trials = comparison.trials()
    if closed is None:
        write_json(out / "comparison.json", {"format": 1, **comparison.to_json(), "setting": comparison.setting()})
    elif len(finished_trials(trials, out)) < len(trials):
        raise closed
    try:
        run_trials(trials, out, splits, watch)
    except BaseException:
        try:
            _publish(summary(timed=False), out)
        except Exception as error:  # whatever it was, the first error is the one to tell
            watch.warned(f"what was finished could not be summarised: {first_line(error)}")
        raise
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
    if comparison.seeds < 1:
        raise RunError("compare(seeds=...): there must be at least one seed", got=f"seeds={comparison.seeds}")
    missing = [library for library in ("accelerate", "scipy", "matplotlib") if find_spec(library) is None]
    if missing:
        words = ", ".join(missing)
        raise RunError(f"compare: {words} must be installed first", fix="pip install 'whatwhere[lab]'")


def _closed(out: Path) -> RunError | None:
    """What keeps ``out`` from being written, if something does and the folder may hold a finished comparison."""
    try:
        check_writable(out, f"compare(out={str(out)!r})")
    except RunError as error:
        if not os.path.exists(out / "comparison.json"):
            raise
        return error
    return None


def _arms(comparison: Comparison, splits: Splits) -> tuple[dict[str, Arm], dict[str, ArmCost]]:
    """All arms and their costs; the bare host first, for images that it cannot take are no gate's fault."""
    arms, costs = {}, {}
    for gate in sorted(comparison.gates, key=lambda gate: gate != YARDSTICK):
        arms[gate] = build_arm(comparison.trial(gate, 0), splits)
        costs[gate] = arm_cost(arms[gate].model, splits, comparison.recipe.batch_size)
    return arms, costs


def _stem(host: str, splits: Splits) -> hosts.Stem:
    """CIFAR's stem, which keeps the resolution, for small images and hosts that can have it; else the host's own."""
    if min(splits.train.shape[1:]) > 64:
        return "standard"
    try:
        hosts.skeleton(host, stem="small")
    except HostError:
        return "standard"
    return "small"


def _check_same(comparison: Comparison, out: Path) -> None:
    path = out / "comparison.json"
    if not path.exists():
        return
    here = comparison.setting()
    try:
        there = json.loads(path.read_text())["setting"]
        differing = [key for key in here if there.get(key) != here[key]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
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
    out: Path,
    splits: Splits,
    arms: Mapping[str, Arm],
    costs: Mapping[str, ArmCost],
    *,
    timed: bool,
) -> dict[str, Any]:
    facts = arm_facts(arms, costs, splits, comparison.recipe, timed=timed)
    return summarise(comparison, facts, finished_trials(comparison.trials(), out), splits)


def _publish(summary: Mapping[str, Any], out: Path) -> None:
    write_json(out / "summary.json", summary)
    write_text(out / "table.md", markdown(summary))
    write_bytes(out / "picture.png", draw(summary))
