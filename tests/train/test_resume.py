"""Trials killed at every bad moment end where the uninterrupted one does."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train.toy import SLOW, read_epochs, toy_net, toy_splits

from whatwhere.train import train, trial

FILES = ["best.safetensors", "checkpoint.pt", "metrics.csv", "metrics.jsonl"]
TIMES = ("seconds", "images_per_second", "waiting", "peak_bytes")


def run(folder, **kwargs):
    return train(toy_net(), toy_splits(), SLOW, seed=0, folder=folder, **kwargs)


def timeless(folder):
    return [{k: v for k, v in asdict(one).items() if k not in TIMES} for one in read_epochs(folder / "metrics.jsonl")]


def flat(value):
    """Every tensor and plain value of a nested checkpoint, in order; times left out."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() if name not in TIMES for leaf in (name, *flat(inner))]
    if isinstance(value, list | tuple):
        return [leaf for inner in value for leaf in flat(inner)]
    return [value]


def assert_same_end(folder, whole):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert timeless(folder) == timeless(whole)
    first, second = load_file(folder / "best.safetensors"), load_file(whole / "best.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in second)
    pairs = [flat(torch.load(place / "checkpoint.pt", weights_only=True)) for place in (folder, whole)]
    assert len(pairs[0]) == len(pairs[1])
    for one, two in zip(*pairs, strict=True):
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trained = run(folder)
    assert trained.best_epoch == 3  # after the first and before the last: every kind of write happens
    return folder, trained


class Killed(BaseException):
    """As sudden as a signal: nothing catches it."""


@pytest.mark.parametrize("occasion", range(1, 9))
def test_cut_off_around_every_rename(tmp_path, monkeypatch, whole, occasion):
    """The n-th rename fails: after the metrics line, between checkpoint and best weights, and so on."""
    count = 0
    replace_file = os.replace

    def cut(source, target):
        nonlocal count
        count += 1
        if count == occasion:
            raise Killed
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        try:
            run(tmp_path)
        except Killed:
            pass
        else:
            assert count < occasion
    again = run(tmp_path)
    times = {"train_seconds": 0, "images_per_second": 0, "waiting": None, "peak_bytes": None}
    assert replace(again, **times) == replace(whole[1], **times)
    assert_same_end(tmp_path, whole[0])


def test_cut_off_in_the_middle_of_a_metrics_line(tmp_path, monkeypatch, whole):
    def torn(folder, one):
        with open(folder / "metrics.jsonl", "a") as file:
            file.write('{"epoch": 2, "lr"')
        raise Killed

    with pytest.raises(Killed):
        run(tmp_path, on_epoch=lambda one: monkeypatch.setattr(trial, "append_epoch", torn))
    monkeypatch.undo()
    run(tmp_path)
    assert_same_end(tmp_path, whole[0])


def test_what_a_killed_write_left_is_removed(tmp_path):
    for name in FILES:
        (tmp_path / f".{name}.0123abcd").write_bytes(b"half")
    (tmp_path / ".other").touch()
    run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", *FILES]


def test_ctrl_c(tmp_path, whole):
    def interrupt(one):
        if one.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_epoch=interrupt)
    heard = []
    run(tmp_path, on_epoch=lambda one: heard.append(one.epoch))
    assert heard == [3, 4]
    assert_same_end(tmp_path, whole[0])


SCRIPT = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from train.toy import SLOW, toy_net, toy_splits
from whatwhere.train import train
model = toy_net()
if sys.argv[2] == "slow":
    model.register_forward_hook(lambda *_: time.sleep(0.05) if model.training else None)
train(model, toy_splits(), SLOW, seed=0, folder=Path(sys.argv[1]))
"""


def test_kill_9_in_the_middle_of_an_epoch(tmp_path, whole):
    script, folder = tmp_path / "script.py", tmp_path / "trial"
    script.write_text(SCRIPT)
    here = Path(__file__).resolve()
    paths = os.pathsep.join([str(here.parents[1]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    threads = torch.get_num_threads()
    process = subprocess.Popen([sys.executable, str(script), str(folder), "slow"], env=environment)
    try:
        metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 60
        while not (metrics.exists() and metrics.read_bytes().count(b"\n") == 2):
            assert process.poll() is None, "ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.08)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert len(read_epochs(metrics)) == 2
    subprocess.run([sys.executable, str(script), str(folder), "fast"], env=environment, check=True)
    torch.set_num_threads(1)
    try:
        run(tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    assert_same_end(folder, tmp_path / "whole")
