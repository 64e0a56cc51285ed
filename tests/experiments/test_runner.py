"""Trials are skipped, continued, left alone, redone or ended, and what is finished stays."""

import json
import os
import shutil
import signal
import socket
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch

from whatwhere.errors import RunError, Stopped
from whatwhere.experiments import Comparison, Watch, finished_trials, run_trials, runner
from whatwhere.experiments.claim import Observer
from whatwhere.train import Recipe
from whatwhere.train.signals import stop_requests

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

    def later(self, spec, reason):
        self.heard.append(("later", spec.gate, spec.seed, reason))

    def found(self, spec, result):
        self.heard.append(("found", spec.gate, spec.seed))

    def left(self, spec, reason):
        self.heard.append(("left", spec.gate, spec.seed, reason))

    def failed(self, spec, reason):
        self.heard.append(("failed", spec.gate, spec.seed, reason))

    def warned(self, message):
        self.heard.append(("warned", message))

    def end(self):
        self.heard.append(("end",))


def test_trials_run_in_order_and_leave_spec_and_result(lab, tmp_path):
    run_trials(TRIALS, tmp_path, lab.splits, loggers=("tensorboard",))
    assert lab.trained == ALL
    assert lab.loggers == ("tensorboard",)
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
        (lambda text: "\udcff", "it cannot be read (UnicodeDecodeError: "),
        (lambda text: "[1, 2]", "it cannot be read (TypeError: "),
        (_without("macs"), "it cannot be read (KeyError: 'macs')"),
        (_changed(test_accuracy=87.5), "its test_accuracy is 87.5"),
        (_changed(test_accuracy="high"), "its test_accuracy is 'high'"),
        (_changed(parameters=True), "its parameters is True"),
        (_changed(hash="00000000"), "it is the result of another trial (00000000, not "),
        (_changed(spec={**TRIALS[0].to_json(), "seed": 9}), "it is the result of another trial ("),
        (_changed(spec={**TRIALS[0].to_json(), "recipe": {"lr": -1}}), "it cannot be read (RunError: "),
        (_changed(gates=3), "it cannot be read (TypeError: "),
        (_changed(waiting=7), "its waiting is 7"),
        (_changed(peak_bytes="much"), "its peak_bytes is 'much'"),
        (_changed(test_accuracy=0.81), "it was changed after it had been written"),
        (_changed(remark="mine"), "it was changed after it had been written"),
        (_changed(digest="0"), "it was changed after it had been written"),
    ],
    ids=[
        *(
            "cut",
            "no text",
            "list",
            "field missing",
            "percent",
            "text",
            "bool",
            "hash",
            "other spec",
            "bad recipe",
            "no gates",
        ),
        *("too long", "no number", "a better number", "one more", "the digest"),
    ],
)
def test_a_broken_result_is_reported_and_done_again(lab, tmp_path, harm, reason):
    run_trials(TRIALS[:1], tmp_path, lab.splits)
    path = tmp_path / TRIALS[0].name / "result.json"
    sound = json.loads(path.read_text())
    path.write_text(harm(path.read_text()), errors="surrogateescape")
    assert finished_trials(TRIALS, tmp_path) == []
    notes = Notes()
    run_trials(TRIALS[:1], tmp_path, lab.splits, notes)
    assert notes.heard[1][0] == "warned"
    message = notes.heard[1][1]
    assert message.startswith(f"{path}: {reason}")
    assert message.endswith("; the trial is done again from its checkpoint")
    assert lab.trained == [("none", 0)] * 2
    again = json.loads(path.read_text())
    assert again.pop("digest") != sound.pop("digest") or again["seconds"] == sound["seconds"]
    assert {**again, "seconds": 0} == {**sound, "seconds": 0}


def test_a_result_of_the_first_release_is_believed(lab, tmp_path):
    run_trials(TRIALS[:1], tmp_path, lab.splits)
    path = tmp_path / TRIALS[0].name / "result.json"
    found = json.loads(path.read_text())
    assert (found["gates"], found["peak_bytes"], found["waiting"]) == ([], None, None)
    old = {key: part for key, part in found.items() if key not in ("gates", "peak_bytes", "waiting", "digest")}
    path.write_text(json.dumps(old))
    (result,) = finished_trials(TRIALS[:1], tmp_path)
    assert (result.gates, result.peak_bytes, result.waiting) == ((), None, None)
    assert result.test_accuracy == 0.8


# folders that a process left half-written, or a hand changed


def _begun(lab, folder):
    """What the first trial leaves behind, without its result."""
    run_trials(TRIALS[:1], folder, lab.splits)
    (folder / TRIALS[0].name / "result.json").unlink()
    lab.trained.clear()
    return folder / TRIALS[0].name


def test_an_empty_folder_is_a_trial_that_has_not_begun(lab, tmp_path):
    (tmp_path / TRIALS[0].name).mkdir()
    notes = Notes()
    run_trials(TRIALS[:1], tmp_path, lab.splits, notes)
    assert [words[0] for words in notes.heard] == ["begin", "started", "epoch", "epoch", "finished", "end"]


@pytest.mark.parametrize(
    ("harm", "wrong", "then"),
    [
        (lambda path: path.write_text(_cut(path.read_text())), "it cannot be read (JSONDecodeError: ", "goes on"),
        (lambda path: path.write_bytes(b"\xff"), "it cannot be read (UnicodeDecodeError: ", "goes on"),
        (lambda path: path.write_text("[1]"), "it cannot be read (AttributeError: ", "goes on"),
        (lambda path: path.unlink(), "it is missing; ", "goes on"),
        (
            lambda path: (path.write_text(""), (path.parent / "checkpoint.pt").unlink()),
            "it cannot be read (JSONDecodeError: ",
            "starts anew",
        ),
    ],
    ids=["cut", "no text", "list", "checkpoint only", "empty file only"],
)
def test_a_half_written_folder_goes_on_and_is_said(lab, tmp_path, harm, wrong, then):
    folder = _begun(lab, tmp_path)
    path = folder / "trial.json"
    sound = path.read_text()
    harm(path)
    kept = (folder / "checkpoint.pt").exists()
    seen = []
    lab_train = runner.train
    runner.train = lambda *words, folder, **more: (
        seen.append((folder / "checkpoint.pt").exists()) or lab_train(*words, folder=folder, **more)
    )
    notes = Notes()
    try:
        run_trials(TRIALS[:1], tmp_path, lab.splits, notes)
    finally:
        runner.train = lab_train
    assert notes.heard[1][0] == "warned"
    message = notes.heard[1][1]
    assert message.startswith(f"{path}: {wrong}")
    end = "goes on from its checkpoint" if then == "goes on" else "starts anew"
    assert message.endswith(f"; it was written again, and the trial {end}")
    assert seen == [kept]
    assert path.read_text() == sound
    assert len(finished_trials(TRIALS[:1], tmp_path)) == 1


OTHER = {**TRIALS[0].to_json(), "seed": 9, "recipe": {**TRIALS[0].to_json()["recipe"], "lr": 0.5}}


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"hash": "00000000", **OTHER}, "seed: 9 there, 0 here; recipe.lr: 0.5 there, 0.1 here"),
        ({"hash": TRIALS[0].hash, **OTHER}, "seed: 9 there, 0 here; recipe.lr: 0.5 there, 0.1 here"),
        ({"hash": "00000000", "later": "version"}, f"hash 00000000 there, {TRIALS[0].hash} here"),
    ],
    ids=["another trial", "edited by hand", "another version's"],
)
def test_a_trial_whose_settings_changed_under_its_name_is_refused_and_stays(lab, tmp_path, content, got):
    folder = _begun(lab, tmp_path)
    (folder / "trial.json").write_text(json.dumps(content))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    notes = Notes()
    with pytest.raises(RunError) as caught:
        run_trials(TRIALS[:2], tmp_path, lab.splits, notes)
    rule = f"'{folder}': the folder holds another trial, whose settings changed under the same name"
    assert str(caught.value) == (
        f"compare: 1 of 2 trials failed: {TRIALS[0].name}\n"
        f"  got: {rule} ({got})\n"
        "  fix: name another folder for the run, or move this one away to train from the start; nothing was changed"
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert lab.trained == [("se", 0)]


def test_a_trial_of_another_version_with_the_same_hash_goes_on(lab, tmp_path):
    folder = _begun(lab, tmp_path)
    (folder / "trial.json").write_text(json.dumps({"hash": TRIALS[0].hash, "later": "version"}))
    run_trials(TRIALS[:1], tmp_path, lab.splits)
    assert lab.trained == [("none", 0)]


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
        "  got: train: the loss became nan (a); train: out of memory (b)\n"
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


LAST = "process 7 on elsewhere has it; looked at again after the others"
WATCHED = "watching for up to a minute whether process 7 on elsewhere still works"


def _elsewhere(folder, beat):
    """Another machine's claim, as it is renewed."""
    folder.mkdir(parents=True, exist_ok=True)
    claim = {"machine": "elsewhere", "pid": 7, "token": "t", "beat": beat}
    (folder / "claim.json").write_text(json.dumps(claim))


@pytest.fixture
def pauses(monkeypatch):
    """Time passes only while a run waits; what is in the list is done meanwhile, one thing a pause."""
    now, todo = [0.0], []

    def pause(seconds):
        now[0] += seconds
        if todo:
            todo.pop(0)()

    monkeypatch.setattr(runner, "_pause", pause)
    monkeypatch.setattr(runner, "Observer", partial(Observer, lambda: now[0]))
    return todo


def test_a_trial_of_another_machine_is_left_alone_and_the_next_one_run(lab, tmp_path, pauses):
    _claimed_by(tmp_path / TRIALS[0].name, "elsewhere", 7)
    notes = Notes()
    run_trials(TRIALS[:2], tmp_path, lab.splits, notes)
    assert lab.trained == [("se", 0)]
    reason = "process 7 on elsewhere has it; if that one is gone, delete its claim.json"
    assert notes.heard[1] == ("later", "none", 0, LAST)
    assert notes.heard[-2:] == [("left", "none", 0, reason), ("end",)]


def test_a_trial_whose_process_lives_is_left_to_it(lab, tmp_path, pauses):
    folder = tmp_path / TRIALS[0].name
    _elsewhere(folder, 0)
    pauses += [lambda: None, lambda: _elsewhere(folder, 1)]
    notes = Notes()
    run_trials(TRIALS[:2], tmp_path, lab.splits, notes)
    assert notes.heard[1] == ("later", "none", 0, LAST)
    assert notes.heard[-3:] == [
        ("later", "none", 0, WATCHED),
        ("left", "none", 0, "process 7 on elsewhere is at it"),
        ("end",),
    ]
    assert pauses == []
    assert lab.trained == [("se", 0)]


def test_a_live_process_of_this_machine_needs_no_watching(lab, tmp_path, pauses):
    folder = tmp_path / TRIALS[0].name
    _claimed_by(folder, socket.gethostname(), os.getppid())
    pauses.append(None)
    notes = Notes()
    run_trials(TRIALS[:1], tmp_path, lab.splits, notes)
    assert notes.heard[2] == ("left", "none", 0, f"process {os.getppid()} on {socket.gethostname()} is at it")


def test_a_trial_that_another_process_finishes_meanwhile_is_found(lab, tmp_path, pauses):
    run_trials(TRIALS[:1], tmp_path / "theirs", lab.splits)
    folder = tmp_path / TRIALS[0].name
    _elsewhere(folder, 0)

    def finish():
        (folder / "claim.json").unlink()
        shutil.copy(tmp_path / "theirs" / TRIALS[0].name / "result.json", folder)

    pauses.append(finish)
    notes = Notes()
    run_trials(TRIALS[:2], tmp_path, lab.splits, notes)
    assert notes.heard[-2:] == [("found", "none", 0), ("end",)]
    assert lab.trained == [("none", 0), ("se", 0)]


def test_a_trial_whose_process_of_another_machine_died_is_taken_after_a_minute(lab, tmp_path, pauses):
    _elsewhere(tmp_path / TRIALS[0].name, 41)
    seen = []
    pauses += [lambda: seen.append(list(lab.trained))] * 40
    notes = Notes()
    run_trials(TRIALS[:2], tmp_path, lab.splits, notes)
    assert seen == [[("se", 0)]] * 31  # two seconds each
    assert lab.trained == [("se", 0), ("none", 0)]
    assert notes.heard[-2:] == [("finished", "none", 0), ("end",)]
    assert len(finished_trials(TRIALS[:2], tmp_path)) == 2


def test_a_trial_that_was_put_off_and_fails_is_told(lab, tmp_path, pauses):
    folder = tmp_path / TRIALS[0].name
    _elsewhere(folder, 0)
    pauses.append(lambda: (folder / "claim.json").unlink())
    lab.fails["none", 0] = RunError("train: no")
    with pytest.raises(RunError, match=rf"^compare: 1 of 1 trials failed: {TRIALS[0].name}\n  got: train: no$"):
        run_trials(TRIALS[:1], tmp_path, lab.splits)


@pytest.mark.parametrize("when", ["epoch", "end"])
def test_a_run_that_lost_its_claim_writes_no_result(lab, tmp_path, monkeypatch, when):
    folder = tmp_path / TRIALS[0].name

    def train(*words, folder, **more):
        if when == "epoch":
            _elsewhere(folder, 0)
        trained = lab.train(*words, folder=folder, **more)
        _elsewhere(folder, 0)
        return trained

    monkeypatch.setattr(runner, "train", train)
    with pytest.raises(RunError) as caught:
        run_trials(TRIALS[:1], tmp_path, lab.splits)
    assert str(caught.value) == (
        f"compare: 1 of 1 trials failed: {TRIALS[0].name}\n"
        f"  got: '{folder}': this process has lost the trial, for it did not renew claim.json in time "
        "(process 7 on elsewhere has it)\n"
        "  fix: make the same call again: it leaves the trial to whoever has it, or goes on from the last checkpoint"
    )
    assert (folder / "checkpoint.pt").exists() == (when == "end")
    assert not (folder / "result.json").exists()
    assert json.loads((folder / "claim.json").read_text())["machine"] == "elsewhere"


# a scheduler's wish


class Ends(Notes):
    """Sends a signal as soon as a trial is over."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def finished(self, spec, result):
        super().finished(spec, result)
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_between_trials_ends_the_run_and_loses_nothing(lab, tmp_path, name):
    before = signal.getsignal(getattr(signal, name))
    notes = Ends(getattr(signal, name))
    with pytest.raises(Stopped) as caught:
        run_trials(TRIALS, tmp_path, lab.splits, notes)
    assert (
        str(caught.value) == f"compare: stopped by {name} between two trials\n  fix: the same call goes on from there"
    )
    assert lab.trained == ALL[:1]
    assert notes.heard[-2:] == [("finished", "none", 0), ("end",)]
    assert len(finished_trials(TRIALS, tmp_path)) == 1
    assert not (tmp_path / TRIALS[1].name).exists()
    assert signal.getsignal(getattr(signal, name)) is before


def test_a_signal_while_costs_are_counted_ends_the_run_before_training(lab, tmp_path, monkeypatch):
    def count(*words):
        os.kill(os.getpid(), signal.SIGTERM)
        return arm_cost(*words)

    arm_cost = runner.arm_cost
    monkeypatch.setattr(runner, "arm_cost", count)
    with pytest.raises(Stopped):
        run_trials(TRIALS, tmp_path, lab.splits)
    assert lab.trained == []
    assert os.listdir(tmp_path / TRIALS[0].name) == ["trial.json"]


def test_a_trial_that_was_stopped_has_not_failed(lab, tmp_path):
    lab.fails["se", 0] = Stopped("train: stopped by SIGTERM at epoch 1, after step 1 of 2", fix="the same call goes on")
    notes = Notes()
    with pytest.raises(Stopped) as caught:
        run_trials(TRIALS, tmp_path, lab.splits, notes)
    assert caught.value is lab.fails["se", 0]
    assert lab.trained == ALL[:1]
    assert not any(words[0] == "failed" for words in notes.heard)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_at_the_edge_of_training_is_not_forgotten(lab, tmp_path, monkeypatch, when):
    """Training listens for itself, but not from its first moment to its last."""

    def train(*words, **more):
        if when == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        with stop_requests() as request:
            if request.name:
                raise Stopped(f"train: stopped by {request.name}")
            trained = lab.train(*words, **more)
            os.kill(os.getpid(), signal.SIGTERM)
        return trained

    monkeypatch.setattr(runner, "train", train)
    with pytest.raises(Stopped):
        run_trials(TRIALS, tmp_path, lab.splits)
    assert lab.trained == ([] if when == "before" else ALL[:1])


def test_a_signal_while_others_are_waited_for_ends_the_run(lab, tmp_path, pauses):
    _elsewhere(tmp_path / TRIALS[0].name, 0)
    pauses.append(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        run_trials(TRIALS[:1], tmp_path, lab.splits)
    assert (tmp_path / TRIALS[0].name / "claim.json").exists()


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
