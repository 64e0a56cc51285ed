"""Accelerate put up and taken down, and the machines it refuses."""

import os
import sys

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from whatwhere.errors import RunError
from whatwhere.train import Recipe
from whatwhere.train.engine import engine


def test_one_precision_after_another():
    for precision, name in (("fp32", "no"), ("bf16", "bf16"), ("fp32", "no")):
        with engine(Recipe(precision=precision)) as accelerator:
            assert accelerator.mixed_precision == name


def test_a_callers_own_accelerator_survives():
    own_states = (AcceleratorState, PartialState, GradientState)
    for state in own_states:
        state._reset_state()
    try:
        own = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=4)
        with engine(Recipe()) as accelerator:
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
    with engine(Recipe()) as accelerator:
        assert accelerator.gradient_accumulation_steps == 1
        assert accelerator.mixed_precision == "no"


def test_a_precision_that_accelerate_refuses(monkeypatch):
    def refuse(**_):
        raise ValueError("not on this device")

    monkeypatch.setattr("accelerate.Accelerator", refuse)
    with pytest.raises(RunError) as caught, engine(Recipe(precision="bf16")):
        pass
    assert str(caught.value) == (
        "train(Recipe(precision='bf16')): Accelerate cannot do this here\n  got: not on this device\n"
        "  fix: precision='fp32'"
    )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            Recipe(precision="fp16"),
            "train(Recipe(precision='fp16')): fp16 needs a GPU\n  got: a cpu\n  fix: 'bf16' or 'fp32'",
        ),
        (
            Recipe(compile=True, graphs=True),
            "train(Recipe(graphs=True)): CUDA graphs need a GPU\n  got: a cpu\n  fix: graphs=False",
        ),
    ],
    ids=["half precision", "graphs"],
)
def test_what_a_cpu_cannot_do(recipe, message):
    with pytest.raises(RunError) as caught, engine(recipe):
        pass
    assert str(caught.value) == message


def test_only_deterministic_operations_while_the_trial_lasts():
    before = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    with engine(Recipe(deterministic=True)):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert not torch.are_deterministic_algorithms_enabled()
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == before


def test_an_operation_that_is_not_deterministic():
    with pytest.raises(RunError) as caught, engine(Recipe(deterministic=True)):
        raise RuntimeError("pool_backward does not have a deterministic implementation, but you set ...")
    assert str(caught.value) == (
        "train(Recipe(deterministic=True)): the network uses an operation that cannot be\n"
        "  got: pool_backward\n  fix: deterministic=False, or another layer"
    )


def test_no_accelerate(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(RunError) as caught, engine(Recipe()):
        pass
    assert caught.value.rule == "train: training needs the accelerate package"
    assert caught.value.fix == "pip install 'whatwhere[lab]'"
