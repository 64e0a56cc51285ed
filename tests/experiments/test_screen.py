"""What a person sees while trials run."""

import io
import re

import pytest

from whatwhere.errors import RunError
from whatwhere.experiments import Comparison, run_trials, watcher
from whatwhere.experiments.screen import Bar, Lines
from whatwhere.train import Recipe

TRIALS = Comparison("tiny", ("none", "se"), "tiny", seeds=1, recipe=Recipe(epochs=2, batch_size=4)).trials()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "kind"), [(io.StringIO, Lines), (Terminal, Bar)], ids=["file", "terminal"])
def test_the_stream_decides(stream, kind):
    assert type(watcher(stream())) is kind


def test_a_file_gets_one_plain_line_a_trial(lab, tmp_path):
    lab.accuracy["none", 0] = 0.8756
    stream = io.StringIO()
    run_trials(TRIALS, tmp_path, lab.splits, watcher(stream))
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"1/2 none seed 0: test 87\.56 %, best epoch 1, \d+\.\d s", first)
    assert re.fullmatch(r"2/2 se seed 0: test 80\.00 %, best epoch 1, \d+\.\d s", second)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["file", "terminal"])
def test_what_was_finished_broken_or_claimed_is_said(lab, tmp_path, monkeypatch, stream):
    monkeypatch.setenv("COLUMNS", "120")
    run_trials(TRIALS, tmp_path, lab.splits)
    broken = tmp_path / TRIALS[0].name / "result.json"
    broken.write_text("{")
    (tmp_path / TRIALS[1].name / "result.json").unlink()
    (tmp_path / TRIALS[1].name / "claim.json").write_text('{"machine": "elsewhere", "pid": 7}')
    shown = stream()
    run_trials(TRIALS, tmp_path, lab.splits, watcher(shown))
    text = shown.getvalue()
    for line in (
        f"warning: {broken}: it cannot be read (JSONDecodeError: ",
        "1/2 none seed 0: test 80.00 %, best epoch 1, ",
        "se seed 0: process 7 on elsewhere has it; looked at again after the others\n",
        "2/2 se seed 0: left out: process 7 on elsewhere has it; if that one is gone, delete its claim.json\n",
    ):
        assert line in text.replace("\r", "")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["file", "terminal"])
def test_what_another_process_finished_meanwhile_is_said(lab, tmp_path, stream):
    run_trials(TRIALS, tmp_path, lab.splits)
    folder = tmp_path / TRIALS[0].name
    (folder / "result.json").rename(tmp_path / "theirs")
    (folder / "claim.json").write_text('{"machine": "elsewhere", "pid": 7}')
    shown = stream()
    watch = watcher(shown)
    begun = watch.later
    watch.later = lambda spec, reason: (begun(spec, reason), (tmp_path / "theirs").rename(folder / "result.json"))
    run_trials(TRIALS, tmp_path, lab.splits, watch)
    assert "2/2 none seed 0: test 80.00 %, finished by another process\n" in shown.getvalue().replace("\r", "")


def test_finished_trials_are_said(lab, tmp_path):
    run_trials(TRIALS, tmp_path, lab.splits)
    stream = io.StringIO()
    run_trials(TRIALS, tmp_path, lab.splits, watcher(stream))
    assert stream.getvalue().splitlines() == [
        "1/2 none seed 0: test 80.00 %, finished before",
        "2/2 se seed 0: test 80.00 %, finished before",
    ]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["file", "terminal"])
def test_a_failed_trial_is_said_at_once(lab, tmp_path, monkeypatch, stream):
    monkeypatch.setenv("COLUMNS", "120")
    lab.fails["none", 0] = RunError("train: the loss became nan", fix="a lower lr")
    shown = stream()
    with pytest.raises(RunError):
        run_trials(TRIALS, tmp_path, lab.splits, watcher(shown))
    assert "1/2 none seed 0: failed: train: the loss became nan\n" in shown.getvalue().replace("\r", "")
    assert "2/2 se seed 0: test 80.00 %" in shown.getvalue()


def test_a_terminal_gets_a_bar_with_arm_seed_and_epoch(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    run_trials(TRIALS, tmp_path, lab.splits, watcher(stream))
    text = stream.getvalue()
    assert "1/2 none seed 0: test 80.00 %" in text
    assert "2/2 trials" in text
    assert "100%" in text


def test_the_bar_counts_only_the_work_that_is_left(lab, tmp_path):
    run_trials(TRIALS[:1], tmp_path, lab.splits)
    bar = Bar(Terminal())
    seen = []
    bar.epoch = lambda spec, record: (Bar.epoch(bar, spec, record), seen.append(_state(bar)))
    run_trials(TRIALS, tmp_path, lab.splits, bar)
    assert seen == [("1/2 trials: se seed 0 epoch 1/2", 1, 2), ("1/2 trials: se seed 0 epoch 2/2", 2, 2)]


def _state(bar):
    task = bar._progress.tasks[0]
    return task.description, task.completed, task.total


def test_the_bar_is_taken_down_when_a_trial_fails(lab, tmp_path):
    lab.fails["se", 0] = RunError("train: no")
    bar = Bar(Terminal())
    with pytest.raises(RunError, match=r"^compare: 1 of 2 trials failed: se-seed0-"):
        run_trials(TRIALS, tmp_path, lab.splits, bar)
    assert not bar._progress.live.is_started
