"""Trials into a folder: skip what is done, continue what was broken off, leave alone what another process has."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whatwhere.data import Splits
from whatwhere.errors import RunError
from whatwhere.experiments.arms import arm_cost, build_arm
from whatwhere.experiments.atomic import write_json
from whatwhere.experiments.claim import claim, holder
from whatwhere.experiments.environment import environment
from whatwhere.experiments.result import BrokenResult, TrialResult, read_result, write_result
from whatwhere.experiments.spec import TrialSpec
from whatwhere.experiments.watch import Watch
from whatwhere.train import Trained, train

__all__ = ["finished_trials", "run_trials"]


def run_trials(specs: Sequence[TrialSpec], folder: Path, splits: Splits, watch: Watch | None = None) -> None:
    """Run the trials in order, each in its own sub-folder of ``folder``; ``finished_trials`` reads what came out.

    A trial with a valid result is skipped, one with a checkpoint goes on from there, and one that another live process
    has claimed is left to it. One that fails does not keep the others from running; it is told at the end.

    Args:
        specs: what to train; all on ``splits``.
        folder: written: NAME/trial.json, what ``train`` writes, and NAME/result.json last.
        splits: the data that the specs name.
        watch: told what happens.

    Raises:
        RunError: trials failed, at the end; all are named.
        AttachError, GateError, HostError: a trial cannot be built, at once.
    """
    watch = watch or Watch()
    watch.begin(len(specs), max((spec.recipe.epochs for spec in specs), default=0))
    failed: dict[str, RunError] = {}
    try:
        for spec in specs:
            try:
                _run_or_skip(spec, folder / spec.name, splits, watch)
            except RunError as error:
                # told anew, since the error itself keeps the trial's network alive, on a GPU perhaps
                failed[spec.name] = RunError(error.rule, got=error.got, fix=error.fix)
                watch.failed(spec, error.rule)
    finally:
        watch.end()
    if failed:
        raise _failure(failed, len(specs))


def _failure(failed: Mapping[str, RunError], trials: int) -> RunError:
    fixes = dict.fromkeys(error.fix for error in failed.values() if error.fix)
    return RunError(
        f"compare: {len(failed)} of {trials} trials failed: {', '.join(failed)}",
        got="; ".join(dict.fromkeys(error.rule for error in failed.values())),
        fix="; ".join(fixes),
    )


def finished_trials(specs: Sequence[TrialSpec], folder: Path) -> list[TrialResult]:
    """The valid results among ``specs``, in their order; whatever is missing or broken is left out."""
    results = []
    for spec in specs:
        try:
            result = read_result(folder / spec.name / "result.json", spec)
        except BrokenResult:
            continue
        if result is not None:
            results.append(result)
    return results


def _run_or_skip(spec: TrialSpec, folder: Path, splits: Splits, watch: Watch) -> None:
    finished = finished_trials([spec], folder.parent)
    if finished:  # looked for before the claim, which a closed folder would not take
        watch.skipped(spec, finished[0])
        return
    folder.mkdir(parents=True, exist_ok=True)
    with claim(folder / "claim.json") as ours:
        done = _done(spec, folder, watch)
        if done is not None:
            watch.skipped(spec, done)
        elif not ours:
            watch.left(spec, f"{holder(folder / 'claim.json')} has it; if that one is gone, delete its claim.json")
        else:
            watch.started(spec)
            result = _run(spec, folder, splits, watch)
            write_result(folder / "result.json", result)
            watch.finished(spec, result)


def _done(spec: TrialSpec, folder: Path, watch: Watch) -> TrialResult | None:
    try:
        return read_result(folder / "result.json", spec)
    except BrokenResult as error:
        watch.warned(f"{folder / 'result.json'}: {error}; the trial is done again from its checkpoint")
        return None


def _run(spec: TrialSpec, folder: Path, splits: Splits, watch: Watch) -> TrialResult:
    start = time.perf_counter()
    write_json(folder / "trial.json", {"format": 1, "name": spec.name, "hash": spec.hash, **spec.to_json()})
    arm = build_arm(spec, splits)
    cost = arm_cost(arm.model, splits, spec.recipe.batch_size)
    trained = train(
        arm.model,
        splits,
        spec.recipe,
        seed=spec.seed,
        folder=folder,
        on_epoch=lambda done: watch.epoch(spec, done),
        progress=False,
    )
    return TrialResult(
        spec=spec,
        sites=arm.sites,
        **_numbers(trained),
        **asdict(cost),
        seconds=time.perf_counter() - start,
        environment=environment(),
    )


def _numbers(trained: Trained) -> dict[str, Any]:
    names = ("test_accuracy", "validation_accuracy", "best_epoch", "epochs", "train_seconds", "images_per_second")
    finite = trained.test_loss if math.isfinite(trained.test_loss) else None
    return {**{name: getattr(trained, name) for name in names}, "test_loss": finite}
