"""Who looks on while trials run; this one only looks."""

from whatwhere.experiments.result import TrialResult
from whatwhere.experiments.spec import TrialSpec
from whatwhere.train.task import Measured

__all__ = ["Watch"]


class Watch:
    """Told what happens in a run of trials; every method does nothing until a subclass says otherwise."""

    def begin(self, trials: int, epochs: int) -> None:
        """``trials`` trials of ``epochs`` epochs each are about to be looked at."""

    def started(self, spec: TrialSpec) -> None:
        """Training starts or continues."""

    def epoch(self, spec: TrialSpec, done: Measured) -> None:
        """One epoch is over."""

    def finished(self, spec: TrialSpec, result: TrialResult) -> None:
        """The trial is over and its result written."""

    def skipped(self, spec: TrialSpec, result: TrialResult) -> None:
        """The trial was finished before."""

    def later(self, spec: TrialSpec, reason: str) -> None:
        """The trial is put off, because somebody else is at it; it is looked at again."""

    def found(self, spec: TrialSpec, result: TrialResult) -> None:
        """Somebody else has finished the trial that had been put off."""

    def left(self, spec: TrialSpec, reason: str) -> None:
        """The trial is left out, because somebody else is at it."""

    def failed(self, spec: TrialSpec, reason: str) -> None:
        """The trial cannot go on; the others do."""

    def warned(self, message: str) -> None:
        """Something was wrong and has been mended."""

    def end(self) -> None:
        """No more trials."""
