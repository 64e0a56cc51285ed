"""Experiments: sets of trials with paired seeds, and the tables, pictures and statements that they allow."""

from whatwhere.experiments.comparison import compare
from whatwhere.experiments.result import TrialResult
from whatwhere.experiments.runner import finished_trials, run_trials
from whatwhere.experiments.screen import Lines, watcher
from whatwhere.experiments.spec import Comparison, TrialSpec
from whatwhere.experiments.statistics import compare_arms, describe, holm, paired
from whatwhere.experiments.table import grid
from whatwhere.experiments.watch import Watch

__all__ = [
    "Comparison",
    "Lines",
    "TrialResult",
    "TrialSpec",
    "Watch",
    "compare",
    "compare_arms",
    "describe",
    "finished_trials",
    "grid",
    "holm",
    "paired",
    "run_trials",
    "watcher",
]
