"""Comparisons of detectors: the same trials, files and tables, with COCO's figures; and what is left to be opened."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save_file
from support.few_scenes import RECIPE, few_scenes

from whatwhere.detect import evaluate, judge, numbers
from whatwhere.errors import GateError, HostError, RunError
from whatwhere.experiments import Comparison, compare, detecting
from whatwhere.experiments.finished_detector import open_detector
from whatwhere.experiments.one_detector import train_detector
from whatwhere.experiments.result import BrokenResult, read_result
from whatwhere.experiments.spec import TrialSpec
from whatwhere.experiments.table import grid

SPLITS = few_scenes()
COMPARISON = Comparison(
    host="ssd-resnet8",
    gates=("none", "bam:reduction=4@heads"),
    data="scenes",
    seeds=2,
    recipe=replace(RECIPE, epochs=1),
    stem="standard",
    image_size=48,
    task="detect",
)
CALL = "detect evaluate('x')"


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def done(tmp_path_factory, patch):
    """A finished comparison: its folder and its summary."""
    patch.setattr(detecting, "load_detection", lambda name, **_: SPLITS)
    folder = tmp_path_factory.mktemp("compared")
    return folder, compare(COMPARISON, folder)


def trial(done, arm="none", seed=0):
    spec = COMPARISON.trial(arm, seed)
    return spec, done[0] / spec.name


def test_the_summary_is_of_coco(done):
    folder, summary = done
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["measure"] == "ap"
    assert summary["pending"] == []
    none, bam = summary["arms"]
    for arm in (none, bam):
        assert {arm[name]["n"] for name in ("ap", "ap50", "ap75")} == {2}
        assert set(arm["seeds"]) == {"0", "1"}
        assert arm["ap"]["mean"] == pytest.approx(sum(arm["seeds"].values()) / 2)
        assert arm["ap"]["mean"] <= arm["ap50"]["mean"] <= 100
        assert "accuracy" not in arm
    assert (bam["at"], len(bam["sites"])) == ("heads", 3)
    assert bam["parameters"] > none["parameters"]
    assert bam["macs_per_image"] > none["macs_per_image"] > 0
    assert bam["difference"]["mean"] == pytest.approx(bam["ap"]["mean"] - none["ap"]["mean"])
    assert bam["difference"]["verdict"] in ("better", "worse", "no significant difference")
    assert any(note.startswith("Test AP in percent") for note in summary["notes"])
    assert any(note.endswith("Of detectors: trunk, pyramid and heads.") for note in summary["notes"])


def test_the_table_names_the_measure(done):
    folder, summary = done
    assert "AP %" in grid(summary).headers
    assert "| AP % |" in (folder / "table.md").read_text()
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_results_hold_what_the_weights_find(done):
    spec, folder = trial(done, "bam:reduction=4@heads", 1)
    result = read_result(folder / "result.json", spec)
    opened = open_detector(folder, CALL)
    found = numbers(judge(SPLITS, SPLITS.test, evaluate(opened.model, SPLITS.test, batch_size=2)))
    assert result.measures == found
    assert (result.measure, result.score) == ("ap", found["ap"])
    assert (opened.name, opened.classes, opened.categories) == (spec.name, SPLITS.classes, SPLITS.categories)
    assert not any(module.training for module in opened.model.modules())
    assert len(result.gates) == len(result.sites) == 3
    assert result.validation_score == result.detection["validation"]


def test_finished_trials_are_not_trained_again(done, monkeypatch):
    from whatwhere.experiments import runner

    monkeypatch.setattr(runner, "train", None)
    again = compare(COMPARISON, done[0])
    assert [arm["seeds"] for arm in again["arms"]] == [arm["seeds"] for arm in done[1]["arms"]]


@pytest.mark.parametrize("control", ["wider", "deeper", "extra_block"])
def test_controls_are_for_classifiers(done, tmp_path, control):
    with pytest.raises(RunError) as caught:
        compare(replace(COMPARISON, gates=("none", control)), tmp_path)
    assert str(caught.value) == (
        f"compare(gates='none,{control}', task='detect'): '{control}' is made for classifiers\n"
        "  fix: gates, and bam/frozen and the like"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_random_gate_that_never_learns(done, tmp_path):
    spec = COMPARISON.trial("bam:reduction=4/frozen", 0)
    arm = detecting.build_detector(spec, 10)
    gates = [weight.requires_grad for name, weight in arm.model.named_parameters() if "gate" in name]
    assert gates
    assert not any(gates)
    assert spec.start == "frozen"


def test_arms_of_one_seed_start_from_the_same_weights_and_leave_chance_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    bare, gated, other = (
        detecting.build_detector(COMPARISON.trial(arm, seed), 10).model.state_dict()
        for arm, seed in (("none", 0), ("bam:reduction=4", 0), ("none", 1))
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(bare[name], gated[name]) for name in bare)
    assert any(not torch.equal(bare[name], other[name]) for name in bare)


def test_the_task_is_part_of_a_trials_identity():
    detector = COMPARISON.trial("none", 0)
    classifier = replace(detector, task="classify")
    assert detector.hash != classifier.hash
    assert TrialSpec.from_json(json.loads(json.dumps(detector.to_json()))) == detector
    assert Comparison.from_json(json.loads(json.dumps(COMPARISON.to_json()))) == COMPARISON


def test_what_was_written_before_there_were_tasks_is_read():
    spec = replace(COMPARISON.trial("none", 0), task="classify", recipe=replace(RECIPE, augment=None))
    old = spec.to_json()
    del old["task"], old["recipe"]["augment"]
    assert TrialSpec.from_json(old) == spec
    earlier = replace(COMPARISON, task="classify").to_json()
    del earlier["task"]
    assert Comparison.from_json(earlier).task == "classify"


def rewritten(source, target, **changes):
    """A result whose detection was changed, its digest right again."""
    found = json.loads(source.read_text())
    del found["digest"]
    found["detection"] = {**found["detection"], **changes}
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    target.write_text(json.dumps({**found, "digest": hashlib.sha256(text.encode()).hexdigest()}))
    return target


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"test": {"ap50": 0.5}}, "its score cannot be read (KeyError: 'ap')"),
        ({"test": {"ap": None}}, "its score cannot be read (AssertionError: )"),
        ({"test": {"ap": 1.5}}, "its score is 1.5"),
        ({"test": {"ap": "high"}}, "its score is 'high'"),
        ({"validation": -0.1}, "its validation_score is -0.1"),
        ({"validation": None}, "its validation_score cannot be read (AssertionError: )"),
    ],
)
def test_a_result_without_a_score_is_not_believed(done, tmp_path, changes, why):
    spec, folder = trial(done)
    file = rewritten(folder / "result.json", tmp_path / "result.json", **changes)
    with pytest.raises(BrokenResult) as caught:
        read_result(file, spec)
    assert str(caught.value) == why


def test_a_detectors_result_needs_its_detection(done, tmp_path):
    spec, folder = trial(done)
    found = json.loads((folder / "result.json").read_text())
    del found["digest"], found["detection"]
    (tmp_path / "result.json").write_text(json.dumps(found))
    with pytest.raises(BrokenResult, match="score cannot be read"):
        read_result(tmp_path / "result.json", spec)


def copied(folder, place, *names):
    place.mkdir()
    for name in names:
        (place / name).write_bytes((folder / name).read_bytes())
    return place


WHOLE = ("trial.json", "result.json", "best.safetensors")


def test_no_folder_and_a_folder_of_trials_are_refused(done):
    _, folder = trial(done)
    fix = "\n  fix: name the folder of one trial: the one that has trial.json, result.json and best.safetensors"
    with pytest.raises(RunError) as caught:
        open_detector(folder / "nowhere", CALL)
    assert str(caught.value) == f"{CALL}: there is no trial in that folder\n  got: no trial.json{fix}"
    with pytest.raises(RunError) as caught:
        open_detector(done[0], CALL)
    assert caught.value.got == "a folder of 4 trials"
    assert set(caught.value.closest) <= {one.name for one in COMPARISON.trials()}


def test_an_unfinished_trial_is_refused(done, tmp_path):
    folder = copied(trial(done)[1], tmp_path / "t", "trial.json", "best.safetensors")
    with pytest.raises(RunError) as caught:
        open_detector(folder, CALL)
    assert str(caught.value) == (
        f"{CALL}: the trial is not finished\n  got: no result.json\n  fix: make the call that began it again"
    )


def test_damaged_missing_and_foreign_weights_are_refused(done, tmp_path):
    folder = copied(trial(done)[1], tmp_path / "t", *WHOLE)
    weights = folder / "best.safetensors"
    fix = "\n  fix: the trial's folder is not whole: copy it again"
    tensors = load(weights.read_bytes())
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(RunError) as caught:
        open_detector(folder, CALL)
    assert str(caught.value).startswith(f"{CALL}: best.safetensors is damaged\n  got: ")
    name = next(iter(tensors))
    save_file({key: value for key, value in tensors.items() if key != name}, weights)
    with pytest.raises(RunError) as caught:
        open_detector(folder, CALL)
    assert str(caught.value) == (
        f"{CALL}: best.safetensors is not of this trial's network\n  got: {name!r} is missing in the file and "
        f"{tuple(tensors[name].shape)} in the network{fix}"
    )
    weights.unlink()
    with pytest.raises(RunError) as caught:
        open_detector(folder, CALL)
    assert str(caught.value) == f"{CALL}: there is no best.safetensors{fix}"


def test_a_classifiers_trial_is_refused(lab, tmp_path):
    from whatwhere.experiments.runner import run_trials
    from whatwhere.train import Recipe

    spec = TrialSpec("tiny", "small", "none", None, "preset", "tiny", None, None, 0, 0, Recipe(batch_size=4))
    run_trials([spec], tmp_path, lab.splits)
    with pytest.raises(RunError) as caught:
        open_detector(tmp_path / spec.name, CALL)
    assert str(caught.value) == (
        f"{CALL}: the trial is a classifier's\n  got: tiny\n  fix: whatwhere pack and explain are for those"
    )


def test_one_detector_shares_its_trial_with_a_comparison(done, monkeypatch):
    from whatwhere.experiments import runner

    monkeypatch.setattr(runner, "train", None)
    spec, folder = trial(done, seed=1)
    result, notes = train_detector(spec, done[0])
    assert (result, notes) == (read_result(folder / "result.json", spec), ())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"host": "ssd-resnet9"}, HostError),
        ({"gate": "bma", "at": "blocks"}, GateError),
        ({"gate": "bam", "at": "bottlenecks", "image_size": 4}, HostError),
    ],
)
def test_wrong_names_leave_no_folder(done, tmp_path, changes, error):
    with pytest.raises(error):
        train_detector(replace(COMPARISON.trial("none", 0), **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()
