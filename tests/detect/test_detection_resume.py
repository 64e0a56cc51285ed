"""Trials of detectors that are stopped end where the uninterrupted one does; so do those that two processes share."""

import json
import os
import signal
import socket
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing
from detect.two_trainers import train_one, train_together
from safetensors.torch import load_file
from support.few_scenes import RECIPE, few_scenes, small_ssd
from train.test_resume import FILES, TIMES, flat

from whatwhere.detect import Detection, evaluate, judge, numbers
from whatwhere.errors import Stopped
from whatwhere.train import train

SPLITS = few_scenes()
RECIPE = replace(RECIPE, augment="ssd", ema=0.5)


def run(folder, *, stop=None, **kwargs):
    """The trial; a signal comes in the ``stop``-th step of this call."""
    model, steps = small_ssd(), 0

    def strike(module, inputs):
        nonlocal steps
        steps += module.training
        if module.training and steps == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_pre_hook(strike)
    return train(model, Detection(SPLITS, model), RECIPE, seed=0, folder=folder, **kwargs)


def timeless(folder):
    read = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in one.items() if name not in TIMES} for one in read]


def assert_same_end(folder, whole):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert timeless(folder) == timeless(whole)
    first, second = (load_file(place / "best.safetensors") for place in (folder, whole))
    assert all(torch.equal(first[name], second[name]) for name in second)
    pairs = [flat(torch.load(place / "checkpoint.pt", weights_only=True)) for place in (folder, whole)]
    for one, two in zip(*pairs, strict=True):
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


@pytest.mark.parametrize("stop", [2, 3, 5], ids=["in the first epoch", "at its end", "in the last"])
def test_a_signal(tmp_path, whole, stop):
    """Each epoch has three steps."""
    folder, trained = whole
    with pytest.raises(Stopped):
        run(tmp_path, stop=stop)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == (stop - 1) // 3
    again = run(tmp_path)
    assert (again.measures, again.per_class, again.best_epoch) == (
        trained.measures,
        trained.per_class,
        trained.best_epoch,
    )
    assert_same_end(tmp_path, folder)


def test_ctrl_c_after_an_epoch(tmp_path, whole):
    def interrupt(one):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_epoch=interrupt)
    heard = []
    run(tmp_path, on_epoch=heard.append)
    assert [one.epoch for one in heard] == [2]
    assert_same_end(tmp_path, whole[0])


def test_what_is_finished_is_given_again(tmp_path, whole):
    folder, trained = whole
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(folder).measures == trained.measures
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_two_processes_see_learn_and_find_the_same(tmp_path):
    """Losses go by the objects of each process's images, so they are near those of one process; images are the same."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, steps = train_one(tmp_path / "one")
        torch.multiprocessing.spawn(train_together, (str(tmp_path), port), nprocs=2)
    finally:
        torch.set_num_threads(threads)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    shared = [[*mine, *theirs] for mine, theirs in zip(first["steps"][:3], second["steps"][:3], strict=True)]
    assert (shared, [first["steps"][3], second["steps"][3]]) == (steps[:3], [steps[3]] * 2)
    (alone,), (together,) = timeless(tmp_path / "one"), timeless(tmp_path / "trial")
    assert together["train_loss"] == pytest.approx(alone["train_loss"], rel=0.1)
    assert together["train_loss"] == pytest.approx(together["train_classes"] + together["train_boxes"], rel=1e-5)
    splits, model = few_scenes(train=14), small_ssd()
    model.load_state_dict(load_file(tmp_path / "trial" / "best.safetensors"))
    expected = numbers(judge(splits, splits.test, evaluate(model, splits.test, batch_size=4)))
    assert first["measures"] == second["measures"] == pytest.approx(expected, nan_ok=True)
    assert together["validation_ap"] == pytest.approx(
        numbers(judge(splits, splits.validation, evaluate(model, splits.validation, batch_size=4)))["ap"]
    )
