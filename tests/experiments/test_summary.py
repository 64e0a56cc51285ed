"""The summary gives every result to the arms whose trial it is, and says what its numbers allow."""

import json

import pytest

from whatwhere.experiments.arms import ArmCost
from whatwhere.experiments.facts import ArmFacts
from whatwhere.experiments.power import detectable_difference
from whatwhere.experiments.result import TrialResult
from whatwhere.experiments.spec import Comparison
from whatwhere.experiments.summary import summarise
from whatwhere.experiments.table import grid

ARMS = ("bam", "none", "bam@blocks", "bam/frozen", "bam:combine=product", "extra_block", "wider:parameters=276091")
BASE = (80.0, 81.0, 80.5, 79.5, 80.2, 80.8)


def _result(comparison, arm, seed, accuracy):
    return TrialResult(
        spec=comparison.trial(arm, seed),
        sites=(),
        test_accuracy=accuracy / 100,
        test_loss=1.0,
        validation_accuracy=0.5,
        best_epoch=1,
        epochs=1,
        train_seconds=1.0,
        images_per_second=1.0,
        parameters=1,
        macs=1,
        bytes_kept=1,
        seconds=1.0,
        environment={"torch": "2"},
    )


@pytest.fixture
def summary(splits):
    def make(gains, seeds=3):
        """Of arms that gain ``gains[arm][seed]`` points; what is not given is not finished."""
        comparison = Comparison("resnet20", tuple(gains), "cifar100", seeds=seeds, stem="small")
        results = [
            _result(comparison, arm, seed, BASE[seed] + gain)
            for arm, finished in gains.items()
            for seed, gain in enumerate(finished)
        ]
        facts = {arm: ArmFacts(("layer1",), ArmCost(10, 20, 30), None, 4) for arm in gains}
        return summarise(comparison, facts, results, splits)

    return make


def _arms(found):
    return {arm["gate"]: arm for arm in found["arms"]}


def test_each_arm_has_its_own_results_though_gates_share_a_name(summary):
    found = summary({arm: (place, place + 0.1, place + 0.3) for place, arm in enumerate(ARMS)})
    arms = _arms(found)
    assert list(arms) == ["none", *(arm for arm in ARMS if arm != "none")]
    for place, arm in enumerate(ARMS):
        expected = {str(seed): BASE[seed] + place + extra for seed, extra in enumerate((0, 0.1, 0.3))}
        assert arms[arm]["seeds"] == pytest.approx(expected)
    assert [(arms[arm]["at"], arms[arm]["start"]) for arm in ("bam", "bam@blocks", "bam/frozen", "extra_block")] == [
        ("bottlenecks", "preset"),
        ("blocks", "preset"),
        ("bottlenecks", "frozen"),
        ("bottlenecks", "preset"),
    ]
    assert (arms["wider:parameters=276091"]["at"], found["pending"]) == (None, [])


def test_two_names_of_one_trial_share_its_result(summary):
    arms = _arms(summary({"none": (0, 0, 0), "bam": (1.0, 1.1, 1.2), "bam@bottlenecks": ()}))
    assert arms["bam@bottlenecks"]["seeds"] == arms["bam"]["seeds"] != {}


def test_an_arm_says_what_was_declared_and_all_that_was_found(summary):
    arms = _arms(summary({"none": (0, 0, 0), "se": (1.0, 1.2, 0.7), "bam": (0.5, 0.1)}))
    assert [arm["declared"] for arm in arms.values()] == [3, 3, 3]
    se, bam = arms["se"]["difference"], arms["bam"]["difference"]
    assert (se["bootstrap_low"], se["bootstrap_high"]) == pytest.approx((0.7, 1.2))
    assert (se["permutation_p"], se["n"]) == (0.25, 3)
    assert se["detectable"] == pytest.approx(detectable_difference(se["sd"], 3, 0.05 / 2))
    assert (bam["verdict"], bam["p"], bam["p_holm"], bam["permutation_p"], bam["detectable"]) == (
        "pending (2 of 3 seeds)",
        *[None] * 4,
    )
    assert bam["bootstrap_low"] == pytest.approx(0.1)


def test_what_is_pending_is_named_and_marked(summary):
    found = summary({"none": (0, 0), "se": (1.0, 1.2, 0.7)})
    assert [name.rsplit("-", 1)[0] for name in found["pending"]] == ["none-seed2"]
    none, se = grid(found).markdown().splitlines()[2:4]
    assert "| 2 of 3 | – | – | – | – |" in none
    assert se.endswith("| – | – | pending (2 of 3 seeds) |")
    assert "| 3 | +1.10 [" in se


def test_the_notes_say_what_so_few_seeds_can_and_cannot_show(summary):
    notes = summary({"none": (0, 0, 0), "se": (1.0, 1.2, 0.7), "bam": (0.5, 0.1)})["notes"]
    assert notes[4:6] == [
        "Detectable: the true difference that 3 seeds show with probability 80 % at 5 % / 2 arms, given how much the "
        "differences vary, which few seeds tell only roughly. Where it is more than you care about, "
        '"no significant difference" is no evidence that there is none.',
        "Without the normal distribution: 95 % percentile bootstrap intervals (too narrow for few seeds) and p of the "
        "sign-flip test, not corrected; with 3 seeds it cannot be below 0.25, whatever the gain: "
        "se [+0.70, +1.20], p 0.25.",
    ]


def test_six_seeds_can_be_significant_by_signs_alone_and_nothing_else_is_said(summary):
    notes = summary({"none": (0,) * 6, "se": (1.0, 1.2, 0.7, 0.9, 1.1, 1.3)}, seeds=6)["notes"]
    assert notes[4].startswith("Detectable: the true difference that 6 seeds show with probability 80 % at 5 %, given")
    assert notes[5].startswith("Without the normal distribution: ")
    assert " and p of the sign-flip test, not corrected: se [+0." in notes[5]
    assert notes[5].endswith("], p 0.0312.")


@pytest.mark.parametrize("gains", [{"none": (0,)}, {"none": (0, 0), "se": (1, 2)}, {"none": (0,) * 3, "se": (1,) * 3}])
def test_where_nothing_was_tested_there_are_no_notes_of_tests(summary, gains):
    assert not any(note.startswith(("Detectable", "Without")) for note in summary(gains)["notes"])


def test_a_summary_is_plain_json(summary):
    found = summary({"none": (0, 0, 0), "se": (1.0, 1.2, 0.7), "bam": (), "wider:parameters=300000": (1, 1, 1)})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
