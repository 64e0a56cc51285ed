"""One detector trained in a folder, as a comparison trains many."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from whatwhere.errors import RunError
from whatwhere.experiments.atomic import check_writable
from whatwhere.experiments.detecting import Detecting, build_detector
from whatwhere.experiments.result import TrialResult
from whatwhere.experiments.runner import TrialsFailed, finished_trials, run_trials
from whatwhere.experiments.spec import Comparison, TrialSpec
from whatwhere.experiments.watch import Watch
from whatwhere.train.feeding import check_batch
from whatwhere.train.launch import processes
from whatwhere.train.loggers import check_loggers
from whatwhere.train.ranks import Ranks

__all__ = ["train_detector"]


def train_detector(
    spec: TrialSpec,
    out: Path,
    *,
    root: Path | None = None,
    watch: Watch | None = None,
    loggers: Sequence[str] = (),
    progress: bool = False,
) -> tuple[TrialResult, tuple[str, ...]]:
    """Train a detector in ``out / spec.name``, or go on there, or read what is finished.

    Args:
        spec: of the trial; its data are named as they were asked for.
        out: made if need be; likewise ``root``, ``watch`` and ``loggers`` as in ``compare``.
        progress: a line on stderr with the parts of the loss, when that is a terminal.

    Returns:
        What came of it, and what its data left out, in words.

    Raises:
        Stopped: a signal asked for it; the same call goes on.
        WhatwhereError: data, detector or gate cannot be had, or the training failed.
    """
    check_loggers(loggers)
    check_batch(spec.recipe, Ranks(world=processes()))
    build_detector(spec, classes=1, weights=False)  # a wrong name is told before data are read or a folder is made
    check_writable(out, f"detect train(out={str(out)!r})")
    asked = Comparison(spec.host, (spec.gate,), spec.data, image_size=spec.image_size, limit=spec.limit, task="detect")
    splits = Detecting().load(asked, root)
    spec = replace(spec, data=splits.name)
    try:
        run_trials([spec], out, splits, watch, loggers, progress)
    except TrialsFailed as error:
        raise RunError(f"detect train: the training of {spec.name} failed", got=error.got, fix=error.fix) from error
    found = finished_trials([spec], out)
    if not found:
        where = out / spec.name
        raise RunError(f"detect train: another process is at {where}", fix="wait for it, or name another --out")
    notes = dict.fromkeys(note for part in (splits.train, splits.test) for note in getattr(part, "notes", ()))
    return found[0], tuple(notes)
