"""Accelerate put up and taken down, and the machines it refuses."""

import sys

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from whatwhere.errors import RunError
from whatwhere.train import engine as module
from whatwhere.train.engine import engine


def test_one_precision_after_another():
    for precision, name in (("fp32", "no"), ("bf16", "bf16"), ("fp32", "no")):
        with engine(precision) as accelerator:
            assert accelerator.mixed_precision == name


def test_a_callers_own_accelerator_survives():
    own_states = (AcceleratorState, PartialState, GradientState)
    for state in own_states:
        state._reset_state()
    try:
        own = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=4)
        with engine("fp32") as accelerator:
            assert accelerator.mixed_precision == "no"
            assert accelerator.gradient_accumulation_steps == 1
        assert own.mixed_precision == "bf16"
        assert own.gradient_accumulation_steps == 4
    finally:
        for state in own_states:
            state._reset_state()


def test_the_environment_does_not_divide_the_loss(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "8")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with engine("fp32") as accelerator:
        assert accelerator.gradient_accumulation_steps == 1
        assert accelerator.mixed_precision == "no"


def test_a_precision_that_accelerate_refuses(monkeypatch):
    def refuse(**_):
        raise ValueError("not on this device")

    monkeypatch.setattr("accelerate.Accelerator", refuse)
    with pytest.raises(RunError) as caught, engine("bf16"):
        pass
    assert str(caught.value) == (
        "train(Recipe(precision='bf16')): Accelerate cannot do this here\n  got: not on this device\n"
        "  fix: precision='fp32'"
    )


def test_half_precision_on_a_cpu():
    class Cpu:
        num_processes = 1

        device = torch.device("cpu")

    with pytest.raises(RunError) as caught:
        module._check_machine(Cpu, "fp16")
    assert str(caught.value) == (
        "train(Recipe(precision='fp16')): fp16 needs a GPU\n  got: a cpu\n  fix: 'bf16' or 'fp32'"
    )


def test_several_processes():
    class Two:
        num_processes = 2

    with pytest.raises(RunError) as caught:
        module._check_machine(Two, "fp32")
    assert str(caught.value) == (
        "train: one trial is trained by one process\n  got: 2 processes\n"
        "  fix: start each process on its own, without torchrun or accelerate launch, one trial each"
    )


def test_no_accelerate(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(RunError) as caught, engine("fp32"):
        pass
    assert caught.value.rule == "train: training needs the accelerate package"
    assert caught.value.fix == "pip install 'whatwhere[lab]'"
