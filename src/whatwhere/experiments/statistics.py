"""Paired comparison of arms with a yardstick: intervals, tests, and what they allow one to say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LEVEL", "Difference", "Moments", "compare_arms", "describe", "holm", "paired"]

LEVEL = 0.95
# Below this share of the values' size, a spread is rounding and not variation between seeds.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Moments:
    """Mean of ``n`` values, their standard deviation (n - 1), and the 95 % t interval of the mean.

    ``sd``, ``low`` and ``high`` are None for one value; ``low`` and ``high`` also when all values are the same.
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """An arm minus the yardstick, paired by seed.

    ``n`` is the number of seeds that both have. ``low`` and ``high`` are the 95 % t interval of the mean difference,
    not adjusted for the number of arms. ``p`` is the two-sided paired t test's; ``p_holm`` is ``p`` after Holm's
    correction over all arms, and the ``verdict`` rests on it. All four are None where no t statement can be made.
    """

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    verdict: str


def describe(values: Sequence[float]) -> Moments:
    """Mean, standard deviation and 95 % t interval of ``values`` (at least one).

    Raises:
        ValueError: there are no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("describe(values): there are no values")
    mean = math.fsum(values) / n
    if n == 1:
        return Moments(1, mean, None, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    if sd <= _ROUNDING * max(1.0, *(abs(value) for value in values)):
        return Moments(n, mean, 0.0, None, None)
    half = _quantile(n - 1) * sd / math.sqrt(n)
    return Moments(n, mean, sd, mean - half, mean + half)


def paired(arm: Mapping[int, float], yardstick: Mapping[int, float]) -> tuple[Moments | None, float | None]:
    """Moments of ``arm - yardstick`` over the seeds that both have, and the two-sided p of the paired t test.

    Args:
        arm: seed to value.
        yardstick: seed to value.

    Returns:
        ``(None, None)`` without a common seed; p is None for one seed and where all differences are the same, because
        the t statistic divides by their spread.
    """
    differences = [value - yardstick[seed] for seed, value in sorted(arm.items()) if seed in yardstick]
    if not differences:
        return None, None
    moments = describe(differences)
    if not moments.sd:
        return moments, None
    from scipy import stats

    statistic = moments.mean / (moments.sd / math.sqrt(moments.n))
    return moments, float(2 * stats.t.sf(abs(statistic), moments.n - 1))


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


def compare_arms(values: Mapping[str, Mapping[int, float]], yardstick: str = "none") -> dict[str, Difference]:
    """Every arm's paired difference to the yardstick, Holm-corrected over all arms.

    An arm that cannot be tested (yet) counts too, so that no ``p_holm`` grows when that arm's seeds come in.

    Args:
        values: arm to seed to value; higher is better. The yardstick may have no values yet.
        yardstick: the arm that the others are compared with.
    """
    arms = [name for name in values if name != yardstick]
    results = {name: paired(values[name], values.get(yardstick, {})) for name in arms}
    corrected = holm({name: p for name, (_, p) in results.items() if p is not None}, of=len(arms))
    return {name: _difference(*results[name], corrected.get(name)) for name in arms}


def _difference(moments: Moments | None, p: float | None, p_holm: float | None) -> Difference:
    if moments is None:
        return Difference(0, None, None, None, None, None, None, "no paired seed: no statement")
    verdict = _verdict(moments, p_holm)
    return Difference(moments.n, moments.mean, moments.sd, moments.low, moments.high, p, p_holm, verdict)


def _verdict(moments: Moments, p_holm: float | None) -> str:
    if moments.n == 1:
        return "one seed: no statement"
    if p_holm is None:
        return "same difference in every seed: no statement"
    if p_holm >= 1 - LEVEL:
        return "no significant difference"
    return "better" if moments.mean > 0 else "worse"


def _quantile(freedom: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))
