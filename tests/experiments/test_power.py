"""The detectable difference, by the noncentral t distribution and integrated by hand."""

import math
import re

import numpy as np
import pytest
from scipy import special, stats

from whatwhere.experiments.power import detectable_difference


def _power(gain, sd, n, alpha):
    """P((Z + shift) / S > edge), integrated over the normal Z; S is a chi variable over its freedom."""
    shift, edge = gain * math.sqrt(n) / sd, stats.t.isf(alpha / 2, n - 1)
    z = np.linspace(max(-shift, -9), 9, 4001)
    inner = special.gammainc((n - 1) / 2, (n - 1) * ((z + shift) / edge) ** 2 / 2)
    heights = stats.norm.pdf(z) * inner
    return float(np.sum((heights[1:] + heights[:-1]) / 2) * (z[1] - z[0]))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 12, 30, 200], ids="n={}".format)
@pytest.mark.parametrize("arms", [1, 3, 20], ids="arms={}".format)
def test_the_power_there_is_four_in_five(n, arms):
    gain = detectable_difference(0.7, n, 0.05 / arms)
    assert _power(gain, 0.7, n, 0.05 / arms) == pytest.approx(0.8, abs=1e-6)


def test_a_value_of_the_textbooks():
    """Cohen's tables: 34 pairs for a difference of half a standard deviation, 33 are a little too few."""
    assert detectable_difference(1.0, 34, 0.05) < 0.5 < detectable_difference(1.0, 33, 0.05)


def test_it_grows_with_the_spread_and_the_arms_and_shrinks_with_the_seeds():
    base = detectable_difference(1.0, 5, 0.05)
    assert detectable_difference(2.0, 5, 0.05) == pytest.approx(2 * base)
    assert detectable_difference(1.0, 5, 0.05 / 3) > base > detectable_difference(1.0, 6, 0.05)


def test_how_rough_three_and_five_seeds_tell_the_spread_is_what_the_docstring_says():
    for n, words in ((3, ("0.52", "6.3")), (5, ("0.60", "2.9"))):
        high, low = (math.sqrt((n - 1) / stats.chi2.ppf(share, n - 1)) for share in (0.025, 0.975))
        assert (f"{low:.2f}", f"{high:.1f}") == words
        assert all(word in detectable_difference.__doc__ for word in words)


@pytest.mark.parametrize(
    ("sd", "n", "alpha"),
    [
        (0.0, 3, 0.05),
        (-1.0, 3, 0.05),
        (math.nan, 3, 0.05),
        (math.inf, 3, 0.05),
        (1.0, 1, 0.05),
        (1.0, 3, 0),
        (1.0, 3, 1),
    ],
    ids=str,
)
def test_what_has_no_answer_is_refused(sd, n, alpha):
    call = f"detectable_difference(sd={sd}, n={n}, alpha={alpha})"
    words = f"{call}: sd must be positive, n at least 2, alpha between 0 and 1"
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        detectable_difference(sd, n, alpha)
