"""What so many seeds could have shown: the smallest difference that a paired t test would probably have found."""

import math
from functools import cache

__all__ = ["POWER", "detectable_difference"]

POWER = 0.8


def detectable_difference(sd: float, n: int, alpha: float) -> float:
    """The true mean difference that ``n`` pairs show with a probability of 80 %.

    To show is that the two-sided paired t test at ``alpha`` rejects "no difference", and to the right side. Exact for
    normal differences, by the noncentral t distribution.

    Args:
        sd: standard deviation of the differences, positive. One estimated from few seeds is rough, and so is the
            answer: the true one lies, in 95 of 100 cases, between 0.52 and 6.3 times that of three differences, 0.60
            and 2.9 times that of five.
        n: number of pairs, at least two.
        alpha: level of the test. Where Holm's correction is made over m arms, 5 % / m is the level at which the 80 %
            hold whatever the other arms do; the correction's later steps only make it more.

    Returns:
        In the unit of ``sd``.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not (0 < sd < math.inf and n >= 2 and 0 < alpha < 1):
        call = f"detectable_difference(sd={sd!r}, n={n!r}, alpha={alpha!r})"
        raise ValueError(f"{call}: sd must be positive, n at least 2, alpha between 0 and 1")
    return sd * _noncentrality(n, alpha) / math.sqrt(n)


@cache
def _noncentrality(n: int, alpha: float) -> float:
    """The t statistic's shift at which the test of ``n`` pairs rejects, to the right side, with probability POWER."""
    from scipy import optimize, stats

    # The other tail would add less than 1e-4, and scipy's nct gives NaN there for many arguments (1.17).
    edge = float(stats.t.isf(alpha / 2, n - 1))
    return float(optimize.brentq(lambda shift: stats.nct.sf(edge, n - 1, shift) - POWER, 0, 2 * edge + 10))
