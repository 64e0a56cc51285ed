"""What a person sees while a comparison runs: a bar on a terminal, else one plain line a trial."""

import sys
import time
from typing import TextIO

from whatwhere.experiments.measures import MEASURES
from whatwhere.experiments.result import TrialResult
from whatwhere.experiments.spec import TrialSpec
from whatwhere.experiments.watch import Watch
from whatwhere.train.task import Measured

__all__ = ["Bar", "Lines", "watcher"]


def watcher(stream: TextIO | None = None) -> Watch:
    """The watcher that fits ``stream`` (standard error unless given): ``Bar`` on a terminal, else ``Lines``."""
    stream = stream or sys.stderr
    return Bar(stream) if stream.isatty() else Lines(stream)


class Lines(Watch):
    """One plain line for each trial that is over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._trials = self._seen = 0
        self._start = 0.0

    def begin(self, trials: int, epochs: int) -> None:
        self._trials, self._seen = trials, 0

    def started(self, spec: TrialSpec) -> None:
        self._start = time.perf_counter()

    def finished(self, spec: TrialSpec, result: TrialResult) -> None:
        seconds = time.perf_counter() - self._start
        self._over(spec, f"test {_score(result)}, best epoch {result.best_epoch}, {seconds:.1f} s")

    def skipped(self, spec: TrialSpec, result: TrialResult) -> None:
        self._over(spec, f"test {_score(result)}, finished before")

    def later(self, spec: TrialSpec, reason: str) -> None:
        self._say(f"{_label(spec)}: {reason}")

    def found(self, spec: TrialSpec, result: TrialResult) -> None:
        self._over(spec, f"test {_score(result)}, finished by another process")

    def left(self, spec: TrialSpec, reason: str) -> None:
        self._over(spec, f"left out: {reason}")

    def failed(self, spec: TrialSpec, reason: str) -> None:
        self._over(spec, f"failed: {reason}")

    def warned(self, message: str) -> None:
        self._say(f"warning: {message}")

    def _over(self, spec: TrialSpec, words: str) -> None:
        self._seen += 1
        self._say(f"{self._seen}/{self._trials} {_label(spec)}: {words}")

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Bar(Lines):
    """One bar for the whole comparison: trials done, the arm, seed and epoch at work, and the time left."""

    def begin(self, trials: int, epochs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        super().begin(trials, epochs)
        self._total, self._done = trials * epochs, 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            speed_estimate_period=3600,
        )
        self._task = self._progress.add_task(f"0/{trials} trials", total=self._total)
        self._progress.start()

    def started(self, spec: TrialSpec) -> None:
        super().started(spec)
        self._show(f": {_label(spec)}")

    def epoch(self, spec: TrialSpec, done: Measured) -> None:
        self._show(f": {_label(spec)} epoch {done.epoch}/{spec.recipe.epochs}", self._done + done.epoch)

    def finished(self, spec: TrialSpec, result: TrialResult) -> None:
        super().finished(spec, result)
        self._done += spec.recipe.epochs
        self._show()

    def skipped(self, spec: TrialSpec, result: TrialResult) -> None:
        super().skipped(spec, result)
        self._shorten(spec)

    def found(self, spec: TrialSpec, result: TrialResult) -> None:
        super().found(spec, result)
        self._shorten(spec)

    def left(self, spec: TrialSpec, reason: str) -> None:
        super().left(spec, reason)
        self._shorten(spec)

    def failed(self, spec: TrialSpec, reason: str) -> None:
        super().failed(spec, reason)
        self._shorten(spec)

    def end(self) -> None:
        self._progress.stop()

    def _shorten(self, spec: TrialSpec) -> None:
        """Work that is not ours to do leaves the bar, so that the time left is reckoned from work that is."""
        self._total -= spec.recipe.epochs
        self._show()

    def _show(self, words: str = "", done: int | None = None) -> None:
        text = f"{self._seen}/{self._trials} trials{words}"
        completed = self._done if done is None else done
        self._progress.update(self._task, description=text, completed=completed, total=self._total)

    def _say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _label(spec: TrialSpec) -> str:
    return f"{spec.gate} seed {spec.seed}"


def _score(result: TrialResult) -> str:
    name = "" if result.measure == "accuracy" else f"{MEASURES[result.measure]} "
    return f"{name}{100 * result.score:.2f} %"
