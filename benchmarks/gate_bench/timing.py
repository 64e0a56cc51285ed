"""Fair times on a machine that is not quiet: contenders in turn, medians, ratios within a round."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import comb

from gate_bench.report import Ratio, Times

__all__ = ["Turn", "race", "ratio", "times"]

# A turn lasts at least so long, so that a call of a millisecond is not lost in the clock and the caches; seconds.
_LEAST = 0.01
_MOST_CALLS = 50
_SLOW = 20 * _LEAST


@dataclass(frozen=True)
class Turn:
    """What is timed, and what holds meanwhile; entering and leaving that is not timed."""

    run: Callable[[], object]
    within: Callable[[], AbstractContextManager[object]] = nullcontext


def race(turns: Mapping[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call, a number for each round, after a turn of each that does not count.

    Every round gives each contender one turn, forwards in one round and backwards in the next, so that a machine that
    grows slower or faster does so for all alike. The garbage collector waits.
    """
    calls = {name: _calls(turn) for name, turn in turns.items()}
    seen: dict[str, list[float]] = {name: [] for name in turns}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            for name in list(turns)[:: 1 if number % 2 == 0 else -1]:
                seen[name].append(_seconds(turns[name], calls[name]))
    finally:
        gc.enable()
    return seen


def _calls(turn: Turn) -> int:
    """How many make a turn of some length; the first call tells little, for it may compile or load something."""
    if _seconds(turn, 1) > _SLOW:
        return 1
    return min(max(round(_LEAST / _seconds(turn, 1)), 1), _MOST_CALLS)


def _seconds(turn: Turn, calls: int) -> float:
    with turn.within():
        begin = time.perf_counter()
        for _ in range(calls):
            turn.run()
        return (time.perf_counter() - begin) / calls


def times(seconds: Sequence[float]) -> Times:
    """Median and quartiles, in milliseconds."""
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [*seconds] * 3
    return Times(1e3 * median, 1e3 * low, 1e3 * high)


def ratio(ours: Sequence[float], theirs: Sequence[float], wanted: float = 0.95) -> Ratio:
    """The median over rounds of ``ours / theirs``, and the sign interval of that median.

    The interval runs between two order statistics and assumes nothing of the distribution; ``level`` is how often such
    an interval holds the true median. With fewer than six rounds not even their whole range holds it 95 % of the time.
    """
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    n = len(ratios)
    outside, level = 0, 1 - 2.0 ** (1 - n)
    for skipped in range(1, (n + 1) // 2):
        held = 1 - 2 * sum(comb(n, below) for below in range(skipped + 1)) / 2**n
        if held < wanted:
            break
        outside, level = skipped, held
    return Ratio(statistics.median(ratios), ratios[outside], ratios[n - 1 - outside], level)
