"""The tables of the report, as cells that every format can show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whatwhere.experiments.measures import MEASURES
from whatwhere.report.arms import Arm, number
from whatwhere.report.runs import Run
from whatwhere.report.trials import Trial
from whatwhere.report.words import (
    ABSENT,
    count,
    duration,
    fixed,
    interval,
    mean_and_sd,
    p_value,
    short,
    value_and_interval,
)

__all__ = ["Bar", "Cell", "Column", "Table", "results_table", "trials_table"]

# The difference's keys that have columns of their own; whatever else a summary says gets one too.
_OWN = {"n", "mean", "sd", "low", "high", "p", "p_holm", "verdict"}
_HEADS = {
    "bootstrap": ("bootstrap 95 %", "percentile bootstrap of the mean difference; too narrow for few seeds"),
    "permutation_p": ("p (sign flip)", "two-sided sign-flip test over the paired seeds, not corrected"),
    "detectable": ("detectable", "the true difference, in points, that so many seeds would have shown 4 times in 5"),
}


@dataclass(frozen=True)
class Bar:
    """A range with its middle, as shares (percent) of the column's width: ends, thick part and middle."""

    low: float
    high: float
    thick_low: float
    thick_high: float
    middle: float


@dataclass(frozen=True)
class Cell:
    """What a cell says, what it is sorted by, and what is drawn in it.

    Args:
        text: in words.
        value: the number behind them; None sorts a number's cell last, and a word's by its text.
        arm: place of an arm, whose mark stands before the text.
        bar: drawn before the text.
        strong: whether it is set apart.
    """

    text: str
    value: float | None = None
    arm: int | None = None
    bar: Bar | None = None
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A column's head, whether it holds numbers, and what the head means."""

    head: str
    numeric: bool = True
    help: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; ``caption`` says what it is to those who cannot see it."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def results_table(run: Run) -> Table:
    """One row an arm: what it costs, how good it is, and whether that differs from the bare host."""
    extras = _extras(run.arms)
    columns = [
        Column("arm", numeric=False),
        Column(f"{MEASURES[run.measure]} %", help="of the test images, mean ± standard deviation over the seeds"),
        Column("n", help="seeds that are finished, of those declared"),
        Column("difference", help="to none, in percentage points, paired by seed, with the 95 % t interval"),
        Column("p (Holm)", help="paired t test, Holm-corrected over the arms"),
        Column("verdict", numeric=False),
        Column("at", numeric=False, help="where the gates stand, and how they start where that is not as published"),
        Column("sites", help="number of gates"),
        Column("parameters"),
        Column("MMACs", help="millions of multiply-accumulates of one image's forward"),
        Column("kept kB", help="bytes that training keeps for backward, per image, in float32"),
        Column("ms", help="measured time of a forward, per image"),
        *map(_extra_column, extras),
    ]
    return Table("results", columns, [_result_row(place, arm, extras) for place, arm in enumerate(run.arms)])


def _result_row(place: int, arm: Arm, extras: Sequence[str]) -> list[Cell]:
    difference = arm.difference
    p, verdict = number(difference.get("p_holm")), str(difference.get("verdict", ABSENT))
    start = "" if arm.start in (None, "preset") else f", {arm.start}"
    n = len(arm.seeds)
    return [
        Cell(arm.name, arm=place),
        Cell(mean_and_sd(arm.score), arm.score.get("mean")),
        Cell(f"{n} of {arm.declared}" if arm.declared and n != arm.declared else str(n), n),
        Cell(value_and_interval(difference), number(difference.get("mean"))),
        Cell(p_value(p), p),
        Cell(verdict, strong=verdict in ("better", "worse")),
        Cell(f"{arm.at}{start}" if arm.at else ABSENT),
        Cell(str(len(arm.sites)), len(arm.sites)) if arm.at else Cell(ABSENT),
        Cell(count(arm.parameters), arm.parameters),
        Cell(fixed(arm.macs and arm.macs / 1e6), arm.macs),
        Cell(count(arm.bytes_kept and arm.bytes_kept / 1e3), arm.bytes_kept),
        Cell(short(arm.ms), arm.ms),
        *(_extra(difference, key) for key in extras),
    ]


def _extra_column(key: str) -> Column:
    head, meaning = _HEADS.get(key, (key.replace("_", " "), ""))
    return Column(head, help=meaning)


def _extras(arms: Sequence[Arm]) -> list[str]:
    """Keys of the differences without a column of their own; a low and a high are one interval."""
    keys = dict.fromkeys(key for arm in arms for key, value in arm.difference.items() if number(value) is not None)
    pairs = {key.removesuffix("_low") for key in keys if key.endswith("_low")}
    ends = {f"{pair}_{end}" for pair in pairs for end in ("low", "high")}
    return [*sorted(pairs), *(key for key in keys if key not in _OWN | ends)]


def _extra(difference: Mapping[str, Any], key: str) -> Cell:
    if f"{key}_low" in difference:
        low, high = number(difference.get(f"{key}_low")), number(difference.get(f"{key}_high"))
        return Cell(interval(low, high), low)
    value = number(difference.get(key))
    return Cell(p_value(value) if key.endswith("_p") else short(value), value)


def trials_table(run: Run) -> Table:
    """One row a trial: how far it is, and what it says."""
    order = {arm.name: place for place, arm in enumerate(run.arms)}
    columns = [
        Column("arm", numeric=False),
        Column("seed"),
        Column("state", numeric=False),
        Column("epochs"),
        Column("best epoch", help="the best on the validation images"),
        Column("validation %"),
        Column("test %"),
        Column("test loss"),
        Column("images/s", help="training images a second"),
        Column("training", help="wall time of the training epochs"),
    ]
    trials = sorted(run.trials, key=lambda trial: (order.get(trial.arm, 0), trial.spec.seed))
    return Table("trials", columns, [_trial_row(trial, order.get(trial.arm)) for trial in trials])


def _trial_row(trial: Trial, place: int | None) -> list[Cell]:
    done = max(trial.epochs, default=0)
    cells = [
        Cell(trial.arm, arm=place),
        Cell(str(trial.spec.seed), trial.spec.seed),
        Cell(trial.state, strong=trial.state != "finished"),
        Cell(f"{done} of {trial.spec.recipe.epochs}", done),
    ]
    if trial.result is None:
        return [*cells, *[Cell(ABSENT)] * 6]
    found = trial.result
    best, loss = number(found.best_epoch), number(found.test_loss)
    speed, seconds = number(found.images_per_second), number(found.train_seconds)
    return [
        *cells,
        Cell(count(best), best),
        Cell(fixed(100 * found.validation_score), found.validation_score),
        Cell(fixed(100 * found.score), found.score),
        Cell(fixed(loss, 3), loss),
        Cell(count(speed), speed),
        Cell(duration(seconds), seconds),
    ]
