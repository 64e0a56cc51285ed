"""The statistics against scipy and against made-up worlds whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from whatwhere.experiments import statistics
from whatwhere.experiments.power import detectable_difference
from whatwhere.experiments.resampling import bootstrap_interval, sign_flip_p
from whatwhere.experiments.statistics import LEVEL, Difference, compare_arms, describe, holm, paired

CALLED = ("better", "worse")


def _seeds(values):
    return dict(enumerate(values))


@pytest.fixture
def quick(monkeypatch):
    """Leaves the bootstrap out, which is most of the time and which no verdict rests on."""
    monkeypatch.setattr(statistics, "bootstrap_interval", lambda differences, level: (0.0, 0.0))


@pytest.mark.parametrize("n", [2, 3, 5, 20], ids="n={}".format)
def test_interval_and_p_are_scipys(n):
    generator = np.random.default_rng(n)
    arm, yardstick = generator.normal(90, 1, n), generator.normal(89, 1, n)
    moments, p = paired(_seeds(arm), _seeds(yardstick))
    reference = stats.ttest_rel(arm, yardstick)
    interval = reference.confidence_interval(0.95)
    assert (moments.low, moments.high) == pytest.approx((interval.low, interval.high))
    assert p == pytest.approx(reference.pvalue)
    assert moments.sd == pytest.approx(np.std(arm - yardstick, ddof=1))


def test_pairs_are_made_by_seed_not_by_order():
    moments, _ = paired({2: 3.0, 0: 1.0, 7: 100.0}, {0: 0.5, 1: 50.0, 2: 2.0})
    assert (moments.n, moments.mean) == (2, 0.75)


@pytest.mark.parametrize(
    ("ps", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # Holm by hand: 3 * .01, 2 * .03, and .04 held up to .06
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
    ids=["monotone", "capped", "single", "none"],
)
def test_holm_by_hand(ps, adjusted):
    assert list(holm({str(i): p for i, p in enumerate(ps)}).values()) == pytest.approx(adjusted)


@pytest.mark.parametrize("ps", [[0.01, 0.01, 0.2], [0.001, 0.02, 0.03, 0.9]], ids=["tied", "four"])
def test_holm_lies_between_raw_and_bonferroni_and_keeps_the_order(ps):
    adjusted = list(holm({str(i): p for i, p in enumerate(ps)}).values())
    assert all(p <= q <= min(1, p * len(ps)) for p, q in zip(ps, adjusted, strict=True))
    assert adjusted == sorted(adjusted)


def test_one_seed_allows_no_statement():
    difference = compare_arms({"none": {0: 80.0}, "se": {0: 85.0}})["se"]
    assert (difference.n, difference.mean, difference.low, difference.p) == (1, 5.0, None, None)
    assert difference.verdict == "one seed: no statement"


@pytest.mark.parametrize("gain", [0.0, 0.1, -3.0], ids="gain={}".format)
def test_the_same_difference_in_every_seed_allows_no_statement(gain):
    yardstick = {0: 80.1, 1: 80.3, 2: 80.7}
    arm = {seed: value + gain for seed, value in yardstick.items()}  # differs in the last bit, not in truth
    difference = compare_arms({"none": yardstick, "se": arm})["se"]
    assert (difference.sd, difference.low, difference.high, difference.p, difference.p_holm) == (0.0, *[None] * 4)
    assert difference.verdict == "same difference in every seed: no statement"


def test_without_the_yardstick_nothing_is_said():
    differences = compare_arms({"none": {}, "se": {0: 1.0}, "bam": {}})
    assert {name: d.verdict for name, d in differences.items()} == dict.fromkeys(
        ("se", "bam"), "no paired seed: no statement"
    )


def test_verdicts_rest_on_the_corrected_p():
    yardstick = _seeds([80.0, 81.0, 80.5, 79.5])
    noise = (0.0, 0.1, -0.1, 0.05)

    def arm(gain, width=1.0):
        return {seed: value + gain + width * noise[seed] for seed, value in yardstick.items()}

    values = {"none": yardstick, "up": arm(2), "down": arm(-2), "flat": arm(0.01), "edge": arm(0.2, 1.4)}
    differences = compare_arms(values)
    assert {name: difference.verdict for name, difference in differences.items()} == {
        "up": "better",
        "down": "worse",
        "flat": "no significant difference",
        "edge": "no significant difference",
    }
    assert differences["edge"].p < 0.05 < differences["edge"].p_holm


def test_arms_without_a_p_count_in_the_correction():
    yardstick = _seeds([80.0, 81.0, 80.5])
    arm = _seeds([80.5, 81.7, 80.9])
    alone = compare_arms({"none": yardstick, "se": arm})["se"]
    beside = compare_arms({"none": yardstick, "se": arm, "bam": {0: 85.0}, "cbam": {}})["se"]
    assert alone.p_holm == alone.p
    assert beside.p_holm == pytest.approx(3 * alone.p)


def test_no_p_grows_when_another_arms_seeds_come_in():
    generator = np.random.default_rng(3)
    for _ in range(50):
        first, second, third = generator.uniform(0, 0.2, 3)
        before, after = holm({"a": first, "b": second}, of=3), holm({"a": first, "b": second, "c": third}, of=3)
        assert all(after[name] <= before[name] for name in before)


def test_holm_of_fewer_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"^holm\(of=1\): there are 2 p-values$"):
        holm({"a": 0.1, "b": 0.2}, of=1)


def test_describe_refuses_nothing():
    with pytest.raises(ValueError, match=r"^describe\(values\): there are no values$"):
        describe([])


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf], ids=str)
def test_what_is_not_finite_is_refused_and_gets_no_verdict(odd):
    with pytest.raises(ValueError, match=rf"^describe\(values\): {odd} is not finite$"):
        describe([1.0, odd])
    with pytest.raises(ValueError, match=rf"^describe\(values\): {odd} is not finite$"):
        compare_arms({"none": {0: 1.0, 1: 2.0}, "se": {0: 1.0, 1: odd}})


def test_describe_survives_large_offsets():
    moments = describe([1e9 + 1, 1e9 + 2, 1e9 + 3])
    assert moments.mean == 1e9 + 2
    assert moments.sd == pytest.approx(1.0)


@pytest.mark.parametrize("n", [3, 5], ids="n={}".format)
def test_the_interval_covers_the_truth_in_95_of_100_worlds(n):
    generator = np.random.default_rng(0)
    worlds, gain = 2000, 0.4
    covered = 0
    for _ in range(worlds):
        seed_effect = generator.normal(0, 1, n)
        yardstick = 90 + seed_effect + generator.normal(0, 0.3, n)
        moments, _ = paired(_seeds(90 + gain + seed_effect + generator.normal(0, 0.3, n)), _seeds(yardstick))
        covered += moments.low <= gain <= moments.high
    assert 0.93 <= covered / worlds <= 0.97


@pytest.mark.usefixtures("quick")
def test_of_worlds_without_any_gain_one_in_twenty_at_most_is_given_a_verdict():
    """Holm holds the chance of at least one false verdict in the family at 5 %, though the arms share a yardstick."""
    generator = np.random.default_rng(1)
    worlds, n = 1500, 4
    false = 0
    for _ in range(worlds):
        arms = {name: _seeds(90 + generator.normal(0, 0.5, n)) for name in ("none", "se", "bam", "cbam")}
        false += any(d.verdict in CALLED for d in compare_arms(arms).values())
    assert 0.02 <= false / worlds <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / worlds)


@pytest.mark.usefixtures("quick")
def test_a_single_arm_is_given_a_false_verdict_in_one_world_of_twenty():
    generator = np.random.default_rng(2)
    worlds, n = 2000, 3
    false = sum(
        compare_arms({"none": _seeds(generator.normal(90, 1, n)), "se": _seeds(generator.normal(90, 1, n))})[
            "se"
        ].verdict
        != "no significant difference"
        for _ in range(worlds)
    )
    assert 0.04 <= false / worlds <= 0.06


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("n", "idle"), [(3, 0), (5, 2), (8, 2)], ids=str)
def test_a_gain_of_the_detectable_size_is_found_in_four_worlds_of_five(n, idle):
    """Beside ``idle`` arms without any gain; Holm's later steps may find a little more, never less."""
    generator = np.random.default_rng(n)
    worlds, spread, width = 1200, 0.3, math.sqrt(2) * 0.3
    gain = detectable_difference(width, n, (1 - LEVEL) / (1 + idle))
    found = 0
    for _ in range(worlds):
        arms = {name: _seeds(90 + generator.normal(0, spread, n)) for name in ("none", "se", "bam", "cbam")[: 2 + idle]}
        arms["se"] = {seed: value + gain for seed, value in arms["se"].items()}
        found += compare_arms(arms)["se"].verdict == "better"
    noise = math.sqrt(0.8 * 0.2 / worlds)
    assert 0.8 - 2.5 * noise <= found / worlds <= 0.8 + 2.5 * noise + 0.01 * idle


NOISY = {"none": _seeds([80.0, 81.0, 80.5, 79.5]), "se": _seeds([81.0, 81.9, 81.6, 80.3])}


def test_all_that_may_be_said_is_said_together():
    differences = [1.0, 0.9, 1.1, 0.8]
    difference = compare_arms({**NOISY, "bam": {}, "cbam": {0: 80.0}}, declared=4)["se"]
    assert difference.verdict == "better"
    assert (difference.bootstrap_low, difference.bootstrap_high) == pytest.approx(bootstrap_interval(differences, 0.95))
    assert difference.low < difference.bootstrap_low < difference.mean < difference.bootstrap_high < difference.high
    assert difference.permutation_p == sign_flip_p(differences) == 0.125
    assert difference.detectable == pytest.approx(detectable_difference(difference.sd, 4, 0.05 / 3))


@pytest.mark.parametrize(
    ("have", "declared", "verdict"),
    [
        (0, 1, "pending (0 of 1 seed)"),
        (0, 3, "pending (0 of 3 seeds)"),
        (1, 3, "pending (1 of 3 seeds)"),
        (2, 3, "pending (2 of 3 seeds)"),
        (1, 1, "one seed: no statement"),
        (4, 4, "better"),
        (4, 3, "better"),
        (4, None, "better"),
    ],
    ids=str,
)
def test_a_statement_is_made_at_the_declared_number_of_seeds(have, declared, verdict):
    arm = {seed: value for seed, value in NOISY["se"].items() if seed < have}
    assert compare_arms({**NOISY, "se": arm}, declared=declared)["se"].verdict == verdict


def test_seeds_that_the_yardstick_lacks_are_pending_too():
    assert compare_arms({**NOISY, "none": {0: 80.0, 3: 79.5}}, declared=4)["se"].verdict == "pending (2 of 4 seeds)"


def test_a_pending_arm_shows_what_was_seen_and_says_nothing():
    """Its p would be 0.0004; and what it withholds still counts in the others' correction."""
    values = {**NOISY, "bam": {seed: value + 1 for seed, value in NOISY["none"].items() if seed < 3}}
    values["bam"][0] += 0.01
    pending = compare_arms(values, declared=4)
    assert paired(values["bam"], values["none"])[1] < 0.001
    assert None not in (pending["bam"].low, pending["bam"].high, pending["bam"].bootstrap_low, pending["bam"].sd)
    said = (pending["bam"].p, pending["bam"].p_holm, pending["bam"].permutation_p, pending["bam"].detectable)
    assert said == (None,) * 4
    assert pending["bam"].verdict == "pending (3 of 4 seeds)"
    assert pending["se"].p_holm == pytest.approx(2 * pending["se"].p)


def test_without_a_spread_no_test_says_anything():
    one, same = compare_arms({"none": {0: 1.0, 1: 2.0}, "se": {0: 3.0}, "bam": {0: 3.0, 1: 4.0}}).values()
    assert one == Difference(n=1, mean=2.0, verdict="one seed: no statement")
    assert same == Difference(n=2, mean=2.0, sd=0.0, verdict="same difference in every seed: no statement")


@pytest.mark.usefixtures("quick")
def test_looking_after_every_seed_would_call_too_much_and_the_declared_number_does_not():
    generator = np.random.default_rng(4)
    worlds, declared = 600, 8
    peeked = kept = 0
    for _ in range(worlds):
        none, se = (dict(enumerate(generator.normal(90, 1, declared))) for _ in range(2))
        looks = [{seed: se[seed] for seed in range(n)} for n in range(2, declared + 1)]
        peeked += any(compare_arms({"none": none, "se": look})["se"].verdict in CALLED for look in looks)
        kept += any(
            compare_arms({"none": none, "se": look}, declared=declared)["se"].verdict in CALLED for look in looks
        )
    assert kept / worlds <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / worlds) < 0.1 < peeked / worlds
