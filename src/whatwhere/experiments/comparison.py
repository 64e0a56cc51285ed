"""`compare`: gates against the bare host, from the check of every word to the table."""

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from whatwhere import hosts
from whatwhere.data import Splits, load
from whatwhere.errors import HostError, RunError, WhatwhereError
from whatwhere.experiments.arms import build_arm
from whatwhere.experiments.atomic import check_writable, replace_file, write_json, write_text
from whatwhere.experiments.facts import ArmFacts, arm_facts
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

    Every name is checked, every arm built and ``out`` written to before the first training. Finished trials are skipped
    and broken-off ones continue, so the same call again completes what an interruption left. When a trial fails, what
    was finished is summarised before the error passes on.

    Args:
        comparison: what to train.
        out: the folder, made if need be; each trial has a sub-folder.
        root: where the data are, for data sets that are read from disk.
        watch: told what happens.

    Returns:
        The summary, as in ``summary.json``.

    Raises:
        RunError: the gates lack "none" or repeat one, ``out`` cannot be written or holds another comparison, a library
            is missing, or a trial fails.
        DataError, HostError, AttachError, GateError: data, host or gate cannot be had.
    """
    _check(comparison)
    check_writable(out, f"compare(out={str(out)!r})")
    splits = load(
        comparison.data,
        root=root,
        seed=comparison.split_seed,
        limit=comparison.limit,
        image_size=comparison.image_size,
    )
    comparison = replace(comparison, data=splits.name, stem=comparison.stem or _stem(comparison.host, splits))
    _check_same(comparison, out)
    arms = {gate: build_arm(comparison.trial(gate, 0), splits) for gate in comparison.gates}
    write_json(out / "comparison.json", {"format": 1, **comparison.to_json(), "setting": comparison.setting()})
    try:
        run_trials(comparison.trials(), out, splits, watch)
    except WhatwhereError:
        _publish(comparison, out, splits, arm_facts(arms, splits, comparison.recipe, timed=False))
        raise
    return _publish(comparison, out, splits, arm_facts(arms, splits, comparison.recipe, timed=True))


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


def _stem(host: str, splits: Splits) -> hosts.Stem:
    """CIFAR's stem, which keeps the resolution, for small images and hosts that can have it; else the host's own."""
    if min(splits.train.images.shape[2:]) > 64:
        return "standard"
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            hosts.build(host, stem="small")
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


def _publish(comparison: Comparison, out: Path, splits: Splits, facts: Mapping[str, ArmFacts]) -> dict[str, Any]:
    summary = summarise(comparison, facts, finished_trials(comparison.trials(), out), splits)
    write_json(out / "summary.json", summary)
    write_text(out / "table.md", markdown(summary))
    replace_file(out / "picture.png", draw(summary))
    return summary
