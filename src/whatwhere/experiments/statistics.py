"""Paired comparison of arms with a yardstick: intervals, tests, and what they allow one to say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from whatwhere.experiments.power import detectable_difference
from whatwhere.experiments.resampling import bootstrap_interval, sign_flip_p
from whatwhere.moments import LEVEL, Moments, describe

__all__ = ["LEVEL", "Difference", "Moments", "compare_arms", "describe", "holm", "paired"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An arm minus the yardstick, paired by seed.

    What was seen: ``n`` is the number of seeds that both have; ``low`` and ``high`` are the 95 % t interval of the mean
    difference, ``bootstrap_low`` and ``bootstrap_high`` the percentile bootstrap's, which is too narrow for few seeds
    (``bootstrap_interval``); neither is adjusted for the number of arms.

    What may be said, once all declared seeds are in: ``p`` is the two-sided paired t test's; ``p_holm`` is ``p`` after
    Holm's correction over all arms, and the ``verdict`` rests on it. ``permutation_p`` is the sign-flip test's, not
    corrected. ``detectable`` is the true difference that this test would have called significant with a probability of
    80 %, given ``sd``: at 5 % over the number of arms, so that it holds whatever the other arms do.

    What cannot be had is None: the intervals and what may be said for one seed or where all differences are the same;
    what may be said also before the declared number of seeds.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    permutation_p: float | None = None
    detectable: float | None = None
    verdict: str


def paired(arm: Mapping[int, float], yardstick: Mapping[int, float]) -> tuple[Moments | None, float | None]:
    """Moments of ``arm - yardstick`` over the seeds that both have, and the two-sided p of the paired t test.

    Args:
        arm: seed to value.
        yardstick: seed to value.

    Returns:
        ``(None, None)`` without a common seed; p is None for one seed and where all differences are the same, because
        the t statistic divides by their spread.

    Raises:
        ValueError: a difference is not finite.
    """
    differences = _differences(arm, yardstick)
    if not differences:
        return None, None
    moments = describe(differences)
    return moments, _t_test(moments)


def holm(ps: Mapping[str, float], *, of: int | None = None) -> dict[str, float]:
    """Holm's step-down adjustment (Holm 1979): p-values that may be compared with one level for all names together.

    Args:
        ps: name to p.
        of: number of comparisons meant to be made, those without a p (yet) included; None for those in ``ps``.

    Raises:
        ValueError: ``of`` is less than there are p-values.
    """
    of = len(ps) if of is None else of
    if of < len(ps):
        raise ValueError(f"holm(of={of}): there are {len(ps)} p-values")
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (of - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in ps}


def compare_arms(
    values: Mapping[str, Mapping[int, float]], yardstick: str = "none", *, declared: int | None = None
) -> dict[str, Difference]:
    """Every arm's paired difference to the yardstick, Holm-corrected over all arms.

    A statement is made at the declared number of seeds, not before: who looks after every seed and stops at the first
    p below 5 % is wrong more often than in 5 %. An arm that cannot be tested (yet) counts in the correction, so that no
    ``p_holm`` grows when that arm's seeds come in. A few milliseconds an arm.

    Args:
        values: arm to seed to value; higher is better. The yardstick may have no values yet.
        yardstick: the arm that the others are compared with.
        declared: seeds that every arm was to have; None where whatever is there is all there was to be.

    Raises:
        ValueError: a value is not finite.
    """
    base = values.get(yardstick, {})
    arms = {name: _differences(values[name], base) for name in values if name != yardstick}
    complete = {name: one for name, one in arms.items() if one and len(one) >= (declared or 0)}
    ps = {name: p for name, one in complete.items() if (p := _t_test(describe(one))) is not None}
    corrected = holm(ps, of=len(arms))
    return {
        name: _difference(one, ps.get(name), corrected.get(name), (1 - LEVEL) / len(arms), declared)
        for name, one in arms.items()
    }


def _differences(arm: Mapping[int, float], yardstick: Mapping[int, float]) -> list[float]:
    return [value - yardstick[seed] for seed, value in sorted(arm.items()) if seed in yardstick]


def _t_test(moments: Moments) -> float | None:
    """Two-sided p of "the mean is 0"."""
    if not moments.sd:
        return None
    from scipy import stats

    statistic = moments.mean / (moments.sd / math.sqrt(moments.n))
    return float(2 * stats.t.sf(abs(statistic), moments.n - 1))


def _difference(
    differences: Sequence[float], p: float | None, p_holm: float | None, alpha: float, declared: int | None
) -> Difference:
    if not differences:
        return Difference(n=0, verdict=_verdict(0, 0.0, None, declared))
    moments = describe(differences)
    low, high = bootstrap_interval(differences, LEVEL) if moments.sd else (None, None)
    seen = Difference(
        n=moments.n,
        mean=moments.mean,
        sd=moments.sd,
        low=moments.low,
        high=moments.high,
        bootstrap_low=low,
        bootstrap_high=high,
        verdict=_verdict(moments.n, moments.mean, p_holm, declared),
    )
    if p is None or moments.sd is None:
        return seen
    detectable = detectable_difference(moments.sd, moments.n, alpha)
    return replace(seen, p=p, p_holm=p_holm, permutation_p=sign_flip_p(differences), detectable=detectable)


def _verdict(n: int, mean: float, p_holm: float | None, declared: int | None) -> str:
    if declared is not None and n < declared:
        return f"pending ({n} of {declared} seed{'s' if declared > 1 else ''})"
    if n == 0:
        return "no paired seed: no statement"
    if n == 1:
        return "one seed: no statement"
    if p_holm is None:
        return "same difference in every seed: no statement"
    if p_holm >= 1 - LEVEL:
        return "no significant difference"
    return "better" if mean > 0 else "worse"
