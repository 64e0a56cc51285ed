"""The bootstrap interval and the sign-flip test against scipy, counting by hand, and made-up worlds."""

import itertools

import numpy as np
import pytest
from scipy import stats

from whatwhere.experiments.resampling import bootstrap_interval, sign_flip_p, smallest_sign_flip_p


@pytest.mark.parametrize("n", [2, 3, 5, 12], ids="n={}".format)
def test_the_sign_flip_p_is_scipys_where_no_sums_tie(n):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    reference = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences) == pytest.approx(reference.pvalue)


@pytest.mark.parametrize("n", [3, 6, 10], ids="n={}".format)
def test_of_signed_ranks_it_is_wilcoxons(n):
    differences = np.random.default_rng(n).normal(0.4, 1, n)
    ranks = np.sign(differences) * stats.rankdata(abs(differences))
    assert sign_flip_p(ranks) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_ties_of_accuracies_are_counted_as_in_whole_numbers():
    """Differences of percentages are multiples of 0.01 but for the last bit; counted in images they are exact."""
    generator = np.random.default_rng(0)
    for _ in range(300):
        n = generator.integers(2, 8)
        gains, base = generator.integers(-12, 13, n), generator.integers(5000, 6000, n)
        differences = 100 * ((base + gains) / 10000) - 100 * (base / 10000)
        sums = np.array(list(itertools.product((1, -1), repeat=n))) @ gains
        assert sign_flip_p(differences) == np.mean(abs(sums) >= abs(gains.sum()))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 12, 13, 40], ids="n={}".format)
def test_no_p_is_less_than_the_least(n):
    generator = np.random.default_rng(n)
    alike = sign_flip_p(generator.uniform(5, 6, n))
    assert alike == pytest.approx(smallest_sign_flip_p(n)) if n != 13 else alike <= 10 * smallest_sign_flip_p(n)
    assert all(sign_flip_p(generator.normal(1, 1, n)) >= smallest_sign_flip_p(n) for _ in range(20))


def test_three_seeds_cannot_be_significant_and_six_can():
    assert smallest_sign_flip_p(3) == 0.25
    assert smallest_sign_flip_p(5) == 0.0625
    assert smallest_sign_flip_p(6) == 0.03125


def test_many_seeds_are_sampled_the_same_way_each_time_and_near_scipys_exact_wilcoxon():
    differences = np.random.default_rng(0).normal(0.3, 1, 16)
    ranks = np.sign(differences) * stats.rankdata(abs(differences))
    assert sign_flip_p(ranks) == sign_flip_p(ranks)
    exact = stats.wilcoxon(differences, method="exact").pvalue
    assert sign_flip_p(ranks) == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))


def test_no_difference_at_all_has_a_p_of_one():
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1


@pytest.mark.parametrize("n", [6, 9], ids="n={}".format)
def test_under_the_null_the_sign_flip_test_errs_in_one_world_of_twenty_at_most(n):
    """Whatever the distribution, as long as it is symmetric: here Cauchy's, which has no mean to test."""
    generator = np.random.default_rng(n)
    ps = np.array([sign_flip_p(generator.standard_cauchy(n)) for _ in range(2000)])
    for level in (0.05, 0.2):
        assert np.mean(ps <= level) <= level + 2 * np.sqrt(level * (1 - level) / 2000)


@pytest.mark.parametrize("n", [2, 3, 10], ids="n={}".format)
def test_the_bootstrap_interval_is_the_quantiles_of_all_resamples(n):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    low, high = bootstrap_interval(differences, 0.95)
    assert (low, high) == bootstrap_interval(differences, 0.95)
    assert min(differences) <= low < np.mean(differences) < high <= max(differences)
    if n <= 3:
        means = np.mean(list(itertools.product(differences, repeat=n)), axis=1)
    else:
        means = np.random.default_rng(99).choice(differences, (40_000, n)).mean(1)
    width = np.ptp(differences)
    assert (low, high) == pytest.approx(np.quantile(means, (0.025, 0.975), method="inverted_cdf"), abs=0.02 * width)


def test_with_three_differences_the_bootstrap_interval_is_their_range():
    assert bootstrap_interval([0.5, -1.0, 2.0], 0.95) == pytest.approx((-1, 2))


@pytest.mark.parametrize(("n", "share"), [(3, 75), (5, 84), (10, 90)], ids="n={}".format)
def test_the_bootstrap_interval_is_as_much_too_narrow_as_its_docstring_says(n, share):
    """Against the 95 % that the t interval keeps (test_statistics)."""
    generator = np.random.default_rng(n)
    worlds = 600
    covered = 0
    for _ in range(worlds):
        low, high = bootstrap_interval(generator.normal(0, 1, n), 0.95)
        covered += low <= 0 <= high
    assert abs(100 * covered / worlds - share) <= 250 * np.sqrt(share / 100 * (1 - share / 100) / worlds)
    assert f" {share}" in bootstrap_interval.__doc__
