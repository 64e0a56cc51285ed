"""Trials are skipped, continued, left alone, redone or ended, and what is finished stays."""

import json
import os
import socket
import weakref
from pathlib import Path

import pytest
import torch

from whatwhere.errors import RunError
from whatwhere.experiments import Comparison, Watch, finished_trials, run_trials, runner
from whatwhere.train import Recipe

COMPARISON = Comparison("tiny", ("none", "se"), "tiny", seeds=2, recipe=Recipe(epochs=2, batch_size=4))
TRIALS = COMPARISON.trials()
ALL = [("none", 0), ("se", 0), ("none", 1), ("se", 1)]


class Notes(Watch):
    """Writes down everything it is told."""

    def __init__(self):
        self.heard = []

    def begin(self, trials, epochs):
        self.heard.append(("begin", trials, epochs))

    def started(self, spec):
        self.heard.append(("started", spec.gate, spec.seed))

    def epoch(self, spec, done):
        self.heard.append(("epoch", done.epoch))

    def finished(self, spec, result):
        self.heard.append(("finished", spec.gate, spec.seed))

    def skipped(self, spec, result):
        self.heard.append(("skipped", spec.gate, spec.seed))

    def left(self, spec, reason):
        self.heard.append(("left", spec.gate, spec.seed, reason))

    def failed(self, spec, reason):
        self.heard.append(("failed", spec.gate, spec.seed, reason))

    def warned(self, message):
        self.heard.append(("warned", message))

    def end(self):
        self.heard.append(("end",))


def test_trials_run_in_order_and_leave_spec_and_result(lab, tmp_path):
    run_trials(TRIALS, tmp_path, lab.splits)
    assert lab.trained == ALL
    folder = tmp_path / TRIALS[1].name
    assert sorted(os.listdir(folder)) == ["checkpoint.pt", "result.json", "trial.json"]
    result = json.loads((folder / "result.json").read_text())
    assert (result["name"], result["hash"]) == (TRIALS[1].name, TRIALS[1].hash)
    assert result["spec"] == json.loads(json.dumps(TRIALS[1].to_json()))
    assert (result["test_accuracy"], result["best_epoch"], result["sites"]) == (0.8, 1, ["conv"])
    assert result["parameters"] == (3 * 9 + 1) * 4 + (4 + 1) * 4 + (4 + 1) * 2  # convolution, gate, classifier
    assert result["macs"] == 64 * 4 * 27 + 64 * 4 * 4 + 4 * 2
    assert set(result["environment"]) == {"versions", "device", "threads", "commit"}
    assert set(result["environment"]["versions"]) == {"whatwhere", "torch", "python"}


def test_all_arms_of_a_seed_start_from_the_same_host_weights(lab, tmp_path):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    run_trials(TRIALS, tmp_path, lab.splits)
    assert torch.equal(lab.weights["none", 0], lab.weights["se", 0])
    assert torch.equal(lab.weights["none", 1], lab.weights["se", 1])
    assert not torch.equal(lab.weights["none", 0], lab.weights["none", 1])
    assert torch.equal(torch.get_rng_state(), before)


def test_finished_trials_are_skipped_and_said_so(lab, tmp_path):
    run_trials(TRIALS[:1], tmp_path, lab.splits)
    notes = Notes()
    run_trials(TRIALS[:2], tmp_path, lab.splits, notes)
    assert lab.trained == ALL[:2]
    assert notes.heard == [
        ("begin", 2, 2),
        ("skipped", "none", 0),
        ("started", "se", 0),
        ("epoch", 1),
        ("epoch", 2),
        ("finished", "se", 0),
        ("end",),
    ]


def _cut(text):
    return text[: len(text) // 2]


def _changed(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


def _without(name):
    return lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != name})


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_cut, "it cannot be read (JSONDecodeError: "),
        (lambda text: "[1, 2]", "it cannot be read (TypeError: "),
        (_without("macs"), "it cannot be read (KeyError: 'macs')"),
        (_changed(test_accuracy=87.5), "its test_accuracy is 87.5"),
        (_changed(test_accuracy="high"), "its test_accuracy is 'high'"),
        (_changed(parameters=True), "its parameters is True"),
        (_changed(hash="00000000"), "it is the result of another trial (00000000, not "),
        (_changed(spec={**TRIALS[0].to_json(), "seed": 9}), "it is the result of another trial ("),
        (_changed(spec={**TRIALS[0].to_json(), "recipe": {"lr": -1}}), "it cannot be read (RunError: "),
    ],
    ids=["cut", "list", "field missing", "percent", "text", "bool", "hash", "other spec", "bad recipe"],
)
def test_a_broken_result_is_reported_and_done_again(lab, tmp_path, harm, reason):
    run_trials(TRIALS[:1], tmp_path, lab.splits)
    path = tmp_path / TRIALS[0].name / "result.json"
    sound = json.loads(path.read_text())
    path.write_text(harm(path.read_text()))
    assert finished_trials(TRIALS, tmp_path) == []
    notes = Notes()
    run_trials(TRIALS[:1], tmp_path, lab.splits, notes)
    message = notes.heard[1][1]
    assert message.startswith(f"{path}: {reason}")
    assert message.endswith("; the trial is done again from its checkpoint")
    assert lab.trained == [("none", 0)] * 2
    again = json.loads(path.read_text())
    assert {**again, "seconds": 0} == {**sound, "seconds": 0}


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), OSError("disk")],
    ids=["ctrl-c", "other"],
)
def test_any_other_failure_ends_the_run_keeps_what_is_finished_and_releases_the_claim(lab, tmp_path, error):
    lab.fails["se", 0] = error
    notes = Notes()
    with pytest.raises(type(error)) as caught:
        run_trials(TRIALS, tmp_path, lab.splits, notes)
    assert caught.value is error
    assert notes.heard[-1] == ("end",)
    assert [result.spec for result in finished_trials(TRIALS, tmp_path)] == TRIALS[:1]
    assert os.listdir(tmp_path / TRIALS[1].name) == ["trial.json"]
    lab.fails.clear()
    run_trials(TRIALS, tmp_path, lab.splits)
    assert lab.trained == ALL


def test_a_trial_that_fails_does_not_keep_the_others_from_running(lab, tmp_path):
    lab.fails["se", 0] = RunError("train: the loss became nan", got="a", fix="a lower lr")
    lab.fails["none", 1] = RunError("train: out of memory", got="b", fix="a smaller batch_size")
    notes = Notes()
    with pytest.raises(RunError) as caught:
        run_trials(TRIALS, tmp_path, lab.splits, notes)
    assert str(caught.value) == (
        f"compare: 2 of 4 trials failed: {TRIALS[1].name}, {TRIALS[2].name}\n"
        "  got: train: the loss became nan; train: out of memory\n"
        "  fix: a lower lr; a smaller batch_size"
    )
    assert lab.trained == [("none", 0), ("se", 1)]
    assert ("failed", "se", 0, "train: the loss became nan") in notes.heard
    assert notes.heard[-1] == ("end",)
    assert [result.spec for result in finished_trials(TRIALS, tmp_path)] == [TRIALS[0], TRIALS[3]]
    assert os.listdir(tmp_path / TRIALS[1].name) == ["trial.json"]
    lab.fails.clear()
    run_trials(TRIALS, tmp_path, lab.splits)
    assert sorted(lab.trained) == sorted(ALL)


def test_a_failed_trials_network_is_let_go(lab, tmp_path, monkeypatch):
    """Kept until the end, the networks of failed trials would fill a GPU."""
    models, alive = [], []

    def fail(model, *_, **__):
        alive.append(sum(one() is not None for one in models))
        models.append(weakref.ref(model))
        raise RunError("train: no")

    monkeypatch.setattr(runner, "train", fail)
    with pytest.raises(RunError, match=r"^compare: 4 of 4 trials failed: "):
        run_trials(TRIALS, tmp_path, lab.splits)
    assert max(alive) == 0


def test_finished_trials_need_no_writing(lab, tmp_path, monkeypatch):
    run_trials(TRIALS, tmp_path, lab.splits)
    monkeypatch.setattr(os, "open", None)
    monkeypatch.setattr(Path, "mkdir", None)
    notes = Notes()
    run_trials(TRIALS, tmp_path, lab.splits, notes)
    assert [words[0] for words in notes.heard] == ["begin", *["skipped"] * 4, "end"]


def _claimed_by(folder, machine, pid):
    folder.mkdir(parents=True)
    (folder / "claim.json").write_text(json.dumps({"machine": machine, "pid": pid, "started": None}))


def test_a_trial_of_another_machine_is_left_alone_and_the_next_one_run(lab, tmp_path):
    _claimed_by(tmp_path / TRIALS[0].name, "elsewhere", 7)
    notes = Notes()
    run_trials(TRIALS[:2], tmp_path, lab.splits, notes)
    assert lab.trained == [("se", 0)]
    reason = "process 7 on elsewhere has it; if that one is gone, delete its claim.json"
    assert notes.heard[1] == ("left", "none", 0, reason)


def test_a_dead_process_claim_is_taken_over(lab, tmp_path):
    _claimed_by(tmp_path / TRIALS[0].name, socket.gethostname(), 2**22 + 1)
    run_trials(TRIALS[:1], tmp_path, lab.splits)
    assert lab.trained == [("none", 0)]
    assert not (tmp_path / TRIALS[0].name / "claim.json").exists()


def test_results_come_back_as_they_were_written(lab, tmp_path):
    run_trials(TRIALS, tmp_path, lab.splits)
    results = finished_trials(TRIALS, tmp_path)
    assert [result.spec for result in results] == TRIALS
    assert results[1].sites == ("conv",)
