"""Recipes: what they refuse, and their learning rates against the closed form."""

import json
import math
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from whatwhere.errors import RunError
from whatwhere.train import Recipe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "Recipe(epochs=0): epochs is a whole number, 1 or more"),
        ({"epochs": 2.5}, "Recipe(epochs=2.5): epochs is a whole number, 1 or more"),
        ({"batch_size": True}, "Recipe(batch_size=True): batch_size is a whole number, 1 or more"),
        ({"lr": 0.0}, "Recipe(lr=0.0): lr is a number above 0"),
        ({"lr": math.nan}, "Recipe(lr=nan): lr is a number above 0"),
        ({"lr": "0.1"}, "Recipe(lr='0.1'): lr is a number above 0"),
        ({"momentum": 1.0}, "Recipe(momentum=1.0): momentum is a number from 0 to below 1"),
        ({"nesterov": 1}, "Recipe(nesterov=1): nesterov is True or False"),
        ({"weight_decay": -1e-4}, "Recipe(weight_decay=-0.0001): weight_decay is a number, 0 or more"),
        ({"warmup_epochs": -1}, "Recipe(warmup_epochs=-1): warmup_epochs is a number, 0 or more"),
        (
            {"milestones": (0.75, 0.5)},
            "Recipe(milestones=(0.75, 0.5)): milestones is a tuple of rising fractions of the epochs,"
            " each between 0 and 1",
        ),
        (
            {"milestones": (30, 60)},
            "Recipe(milestones=(30, 60)): milestones is a tuple of rising fractions of the epochs,"
            " each between 0 and 1",
        ),
        ({"gamma": 0}, "Recipe(gamma=0): gamma is a number above 0"),
        ({"label_smoothing": 1}, "Recipe(label_smoothing=1): label_smoothing is a number from 0 to below 1"),
        ({"channels_last": None}, "Recipe(channels_last=None): channels_last is True or False"),
        ({"padding": -1}, "Recipe(padding=-1): padding is a whole number of pixels, 0 or more"),
        ({"flip": "no"}, "Recipe(flip='no'): flip is True or False"),
        ({"clip_norm": 0}, "Recipe(clip_norm=0): clip_norm is None or a number above 0"),
        ({"accumulate": 0}, "Recipe(accumulate=0): accumulate is a whole number, 1 or more"),
        ({"ema": 1}, "Recipe(ema=1): ema is None or a number between 0 and 1"),
        ({"compile": 1}, "Recipe(compile=1): compile is True or False"),
        ({"graphs": None}, "Recipe(graphs=None): graphs is True or False"),
        ({"deterministic": "no"}, "Recipe(deterministic='no'): deterministic is True or False"),
        ({"sync_norm": 0}, "Recipe(sync_norm=0): sync_norm is True or False"),
        ({"decay_norms": 2}, "Recipe(decay_norms=2): decay_norms is True or False"),
        (
            {"graphs": True},
            "Recipe(graphs=True, compile=False): CUDA graphs are recorded by the compiler\n  fix: compile=True too",
        ),
        (
            {"optimiser": "sdg"},
            "Recipe(optimiser='sdg'): no such optimiser\n  closest: 'sgd'\n  fix: optimiser is 'sgd' or 'adamw'",
        ),
        (
            {"optimiser": "Adam"},
            "Recipe(optimiser='Adam'): no such optimiser\n  closest: 'adamw'\n  fix: optimiser is 'sgd' or 'adamw'",
        ),
        (
            {"schedule": "cosin"},
            "Recipe(schedule='cosin'): no such schedule\n  closest: 'cosine'\n  fix: schedule is 'cosine' or 'step'",
        ),
        (
            {"precision": "fp8"},
            "Recipe(precision='fp8'): no such precision\n  closest: 'fp32', 'fp16'\n"
            "  fix: precision is 'fp32' or 'bf16' or 'fp16'",
        ),
        (
            {"precision": 16},
            "Recipe(precision=16): no such precision\n  fix: precision is 'fp32' or 'bf16' or 'fp16'",
        ),
        (
            {"epochs": 2, "warmup_epochs": 2},
            "Recipe(epochs=2, warmup_epochs=2): warm-up ends before training does\n"
            "  fix: warmup_epochs below 2, or more epochs",
        ),
        (
            {"momentum": 0.0},
            "Recipe(momentum=0, nesterov=True): nesterov needs momentum\n  fix: nesterov=False",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused(fields, message):
    with pytest.raises(RunError) as caught:
        Recipe(**fields)
    assert str(caught.value) == message


def test_frozen_and_through_json():
    recipe = Recipe(epochs=3, clip_norm=1.0)
    with pytest.raises(FrozenInstanceError):
        recipe.lr = 1.0
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("progress", "lr"), [(0, 0.2), (0.25, 0.1 * (1 + math.sqrt(0.5))), (0.5, 0.1), (1, 0.0)], ids=str
)
def test_cosine(progress, lr):
    assert Recipe(lr=0.2).lr_at(progress) == pytest.approx(lr, abs=1e-15)


@pytest.mark.parametrize(
    ("progress", "lr"), [(0, 0.2), (0.499, 0.2), (0.5, 0.02), (0.749, 0.02), (0.75, 0.002), (1, 0.002)], ids=str
)
def test_step(progress, lr):
    assert Recipe(lr=0.2, schedule="step").lr_at(progress) == pytest.approx(lr)


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_warm_up(schedule):
    recipe = Recipe(epochs=10, lr=0.4, warmup_epochs=2.5, schedule=schedule)
    assert [recipe.lr_at(progress) for progress in (0, 0.125, 0.25)] == pytest.approx([0, 0.2, 0.4])
    middle = recipe.lr_at(0.625)
    assert middle == pytest.approx(0.2 if schedule == "cosine" else 0.04)


def test_no_milestones_is_constant():
    recipe = replace(Recipe(), schedule="step", milestones=())
    assert {recipe.lr_at(k / 10) for k in range(11)} == {0.1}
