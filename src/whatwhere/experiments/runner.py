"""Trials into a folder: skip what is done, continue what was broken off, leave alone what another process has."""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whatwhere.attach.gated import gated_modules
from whatwhere.errors import RunError, Stopped
from whatwhere.experiments.arms import Arm, arm_cost
from whatwhere.experiments.claim import ClaimLost, Held, Observer, State, claim, holder
from whatwhere.experiments.environment import environment
from whatwhere.experiments.gate_history import GateHistory
from whatwhere.experiments.result import BrokenResult, TrialResult, read_result, write_result
from whatwhere.experiments.spec import TrialSpec
from whatwhere.experiments.tasks import kind_of
from whatwhere.experiments.team import Alone, Team
from whatwhere.experiments.trial_file import settle_trial_file
from whatwhere.experiments.watch import Watch
from whatwhere.train import train
from whatwhere.train.signals import StopRequest, stop_requests

__all__ = ["TrialsFailed", "finished_trials", "run_trials"]

# What the first process decides of a trial.
_SETTLED, _RUN, _LATER = range(3)
_LOOK_SECONDS = 2.0
# Images that the gates are shown after each epoch.
_GLANCE = 64
_LAST = "looked at again after the others"


class TrialsFailed(RunError):
    """All trials were looked at, and some of them failed."""


def run_trials(
    specs: Sequence[TrialSpec],
    folder: Path,
    splits: Any,
    watch: Watch | None = None,
    loggers: Sequence[str] = (),
    progress: bool = False,
) -> None:
    """Run the trials in order, each in its own sub-folder of ``folder``; ``finished_trials`` reads what came out.

    A trial with a valid result is skipped, one with a checkpoint goes on from there. One that fails does not keep the
    others from running; it is told at the end.

    Any number of runs, on any machines, may share the folder. A trial that another one has is put off, and looked at
    again when all others are done: by then it is finished, or its process is dead and it is run here, or it is left to
    that one. To see a process of another machine live takes ten seconds or so, to see it dead a minute.

    Several processes that were started to train together (``launch``) all make this call: the first decides, writes and
    tells ``watch``.

    Args:
        specs: what to train; all on ``splits``.
        folder: written: NAME/trial.json, what ``train`` writes, and NAME/result.json last.
        splits: the data that the specs name.
        watch: told what happens.
        loggers: as in ``train``.
        progress: likewise; for a ``watch`` that draws no bar itself.

    Raises:
        Stopped: SIGTERM or SIGUSR1 came; the same call goes on.
        TrialsFailed: at the end; all are named.
        RunError: one of several processes that train together failed without the others.
        AttachError, GateError, HostError: a trial cannot be built, at once.
    """
    team = Team()
    watch = watch if watch and team.first else Watch()
    watch.begin(len(specs), max((spec.recipe.epochs for spec in specs), default=0))
    try:
        with stop_requests() as request, team.together():
            _Run(folder, splits, watch, team, request, loggers, progress).all(specs)
    finally:
        watch.end()


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


class _Run:
    """One call of ``run_trials``; of several processes, each has its own."""

    def __init__(
        self,
        folder: Path,
        splits: Any,
        watch: Watch,
        team: Team,
        request: StopRequest,
        loggers: Sequence[str],
        progress: bool,
    ) -> None:
        self._loggers, self._progress = loggers, progress
        self._folder, self._splits, self._watch, self._team, self._request = folder, splits, watch, team, request
        self._observer = Observer()
        self._held: Held | None = None  # the trial at hand, in the first process
        self._told: set[tuple[str, str]] = set()  # what was said of trials that were put off
        self._failed: dict[str, RunError] = {}

    def all(self, specs: Sequence[TrialSpec]) -> None:
        """Every trial once, and those that others have until it is clear what to do with them."""
        later = [spec for spec in specs if not self._settle(spec, again=False)]
        while later:
            later = [spec for spec in later if not self._settle(spec, again=True)]
            if later:
                _pause(_LOOK_SECONDS)
        self._tell(len(specs))

    def _tell(self, trials: int) -> None:
        if self._failed:
            errors = self._failed.values()
            reasons = (f"{error.rule} ({error.got})" if error.got else error.rule for error in errors)
            raise TrialsFailed(
                f"compare: {len(self._failed)} of {trials} trials failed: {', '.join(self._failed)}",
                got="; ".join(dict.fromkeys(reasons)),
                fix="; ".join(dict.fromkeys(error.fix for error in errors if error.fix)),
            )

    def _settle(self, spec: TrialSpec, *, again: bool) -> bool:
        """Whether nothing is left to do for the trial, by this run."""
        self._heed()
        try:
            with ExitStack() as stack:
                decision = self._team.told(lambda: self._decide(spec, again, stack))
                if decision == _RUN:
                    self._run(spec)
                return decision != _LATER
        except (Stopped, Alone):
            raise
        except RunError as error:
            if isinstance(error, ClaimLost) and self._team.world > 1:  # the others are in the middle of the trial
                raise
            # told anew, since the error itself keeps the trial's network alive, on a GPU perhaps
            self._failed[spec.name] = RunError(error.rule, got=error.got, fix=error.fix)
            self._watch.failed(spec, error.rule)
            return True

    def _heed(self) -> None:
        if self._team.any(bool(self._request.name)):
            name = self._request.name or "a signal to another process"
            raise Stopped(f"compare: stopped by {name} between two trials", fix="the same call goes on from there")

    def _decide(self, spec: TrialSpec, again: bool, stack: ExitStack) -> int:
        folder = self._folder / spec.name
        if self._finished(spec, again):  # looked for before the claim, which a closed folder would not take
            return _SETTLED
        folder.mkdir(parents=True, exist_ok=True)
        state = self._observer.state(folder / "claim.json")
        self._held = stack.enter_context(claim(folder / "claim.json", self._observer))
        if self._finished(spec, again):  # meanwhile
            return _SETTLED
        if self._held is None:
            who = holder(folder / "claim.json")
            return self._leave(spec, who, state) if again else self._put_off(spec, f"{who} has it; {_LAST}")
        self._prepare(spec, folder)
        self._watch.started(spec)
        return _RUN

    def _finished(self, spec: TrialSpec, again: bool) -> bool:
        results = finished_trials([spec], self._folder)
        for result in results:
            (self._watch.found if again else self._watch.skipped)(spec, result)
        return bool(results)

    def _leave(self, spec: TrialSpec, who: str, state: State) -> int:
        """What to do with a trial that nobody has finished and that is not to be had."""
        if state in ("unsure", "gone"):
            return self._put_off(spec, f"watching for up to a minute whether {who} still works")
        gone = "has it; if that one is gone, delete its claim.json"
        self._watch.left(spec, f"{who} {'is at it' if state == 'alive' else gone}")
        return _SETTLED

    def _put_off(self, spec: TrialSpec, reason: str) -> int:
        if (spec.name, reason) not in self._told:
            self._told.add((spec.name, reason))
            self._watch.later(spec, reason)
        return _LATER

    def _prepare(self, spec: TrialSpec, folder: Path) -> None:
        """Tells of what a process that was killed, or a hand, left in the folder, and mends what can be."""
        try:
            read_result(folder / "result.json", spec)
        except BrokenResult as error:
            self._watch.warned(f"{folder / 'result.json'}: {error}; the trial is done again from its checkpoint")
        mended = settle_trial_file(folder, spec)
        if mended:
            self._watch.warned(mended)

    def _run(self, spec: TrialSpec) -> None:
        start = time.perf_counter()
        kind = kind_of(spec.task)
        arm = kind.build(spec, self._splits)
        cost = arm_cost(arm.model, *kind.dense(arm.model, self._splits), spec.recipe.batch_size)
        self._heed()
        trained = self._train(spec, arm)
        if self._held is None:
            return
        self._held.check()
        result = TrialResult(
            spec=spec,
            sites=arm.sites,
            **_finite(kind.outcome(trained)),
            **asdict(cost),
            gates=kind.seen_by_gates(arm.model, self._splits, spec.recipe) if gated_modules(arm.model) else (),
            seconds=time.perf_counter() - start,
            environment=environment(),
        )
        write_result(self._folder / spec.name / "result.json", result)
        self._watch.finished(spec, result)

    def _train(self, spec: TrialSpec, arm: Arm) -> Any:
        """Training in all processes; where it fails in one, it fails in all."""
        history: list[GateHistory] = []  # begun after the first epoch, when the model is where it is trained
        try:
            trained = train(
                arm.model,
                kind_of(spec.task).learnt(spec, self._splits, arm.model),
                spec.recipe,
                seed=spec.seed,
                folder=self._folder / spec.name,
                on_epoch=lambda done: self._seen(spec, arm, done, history),
                progress=self._progress,
                loggers=self._loggers,
            )
        except (Stopped, ClaimLost):
            raise
        except RunError as error:
            self._team.agree((error.rule, error.got, error.closest, error.fix))
            raise
        self._team.agree(None)
        return trained

    def _seen(self, spec: TrialSpec, arm: Arm, done: Any, history: list[GateHistory]) -> None:
        if self._held is not None:
            self._held.check()
        if arm.sites and gated_modules(arm.model):
            if not history:
                images, _ = kind_of(spec.task).shown(arm.model, self._splits, spec.recipe, _GLANCE)
                history.append(GateHistory(arm.model, images, self._folder / spec.name))
            history[0].note(done.epoch)
        self._watch.epoch(spec, done)


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _finite(outcome: dict[str, Any]) -> dict[str, Any]:
    """With None for a loss that JSON has no number for."""
    loss = outcome.get("test_loss", 0.0)
    return outcome if math.isfinite(loss) else {**outcome, "test_loss": None}
