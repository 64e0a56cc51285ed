"""Stops in the middle of an epoch: bit for bit what an uninterrupted trial gives."""

import os
import signal
import threading
from dataclasses import replace

import pytest
from train.test_resume import assert_same_end
from train.toy import SLOW, toy_net, toy_splits

from whatwhere.errors import Stopped
from whatwhere.train import train
from whatwhere.train.signals import stop_requests

RECIPES = {"plain": SLOW, "average, in parts": replace(SLOW, ema=0.9, accumulate=2, clip_norm=1.0)}


def run(folder, recipe, *stops):
    """One trial, a signal coming in each of the steps of ``stops``, counted over this call."""
    model, steps = toy_net(), 0

    def strike(module, inputs):
        nonlocal steps
        steps += module.training
        if module.training and steps in stops:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_pre_hook(strike)
    return train(model, toy_splits(), recipe, seed=0, folder=folder)


@pytest.fixture(scope="module", params=RECIPES)
def whole(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    recipe = RECIPES[request.param]
    run(folder, recipe)
    return folder, recipe


@pytest.mark.parametrize("stops", [(1, 3), (5, 1, 9), (2, 2, 2, 2, 2), (20,)], ids=str)
def test_stopped_again_and_again(tmp_path, whole, stops):
    folder, recipe = whole
    for stop in stops:
        with pytest.raises(Stopped):
            run(tmp_path, recipe, stop * recipe.accumulate)
    run(tmp_path, recipe)
    assert_same_end(tmp_path, folder)


def test_what_is_said(tmp_path):
    with pytest.raises(Stopped) as caught:
        run(tmp_path, SLOW, 7)
    assert str(caught.value) == (
        "train: stopped by SIGTERM at epoch 2, after step 2 of 5\n  fix: the same call goes on from there"
    )


def test_a_signal_in_the_last_evaluation(tmp_path):
    model = toy_net()
    seen = []

    def strike(module, inputs):
        seen.append(module.training)
        if seen.count(False) == 9:  # two batches after each of four epochs
            os.kill(os.getpid(), signal.SIGUSR1)

    model.register_forward_pre_hook(strike)
    with pytest.raises(Stopped) as caught:
        train(model, toy_splits(), SLOW, seed=0, folder=tmp_path)
    assert str(caught.value) == (
        "train: stopped by SIGUSR1 after the last epoch\n  fix: the same call gives the result"
    )


def test_handlers_are_put_back():
    def own(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, own)
    try:
        with stop_requests() as request:
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.name == "SIGTERM"
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_does_not_listen():
    heard = []

    def listen():
        with stop_requests() as request:
            heard.append((request.name, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [("", signal.getsignal(signal.SIGTERM))]
