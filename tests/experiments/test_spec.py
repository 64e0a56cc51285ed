"""Specs survive a trip through JSON, and their hash changes with every field and with nothing else."""

import json
import re
from dataclasses import fields, replace

import pytest

from whatwhere.attach import plan
from whatwhere.errors import GateError
from whatwhere.experiments.arm_names import default_place
from whatwhere.experiments.spec import Comparison, TrialSpec
from whatwhere.hosts import build
from whatwhere.train import Recipe

SPEC = TrialSpec("resnet20", "small", "bam", "bottlenecks", "preset", "scenes", None, None, 0, 0, Recipe(epochs=2))
OTHER = {
    "host": "resnet56",
    "stem": "standard",
    "gate": "cbam",
    "at": "blocks",
    "start": "identity",
    "data": "cifar10",
    "limit": 100,
    "image_size": 16,
    "split_seed": 1,
    "seed": 1,
    "recipe": Recipe(epochs=3),
    "task": "detect",
}


def test_a_trip_through_json_changes_nothing():
    again = TrialSpec.from_json(json.loads(json.dumps(SPEC.to_json())))
    assert again == SPEC
    assert again.hash == SPEC.hash


@pytest.mark.parametrize("field", [field.name for field in fields(TrialSpec)])
def test_every_field_changes_the_hash(field):
    assert replace(SPEC, **{field: OTHER[field]}).hash != SPEC.hash


@pytest.mark.parametrize("field", [field.name for field in fields(Recipe)])
def test_every_field_of_the_recipe_changes_the_hash(field):
    other = {
        "epochs": 3,
        "optimiser": "adamw",
        "schedule": "step",
        "precision": "bf16",
        "nesterov": False,
        "channels_last": False,
        "flip": False,
        "milestones": (0.6,),
        "clip_norm": 1.0,
        "padding": 2,
        "batch_size": 64,
        "accumulate": 2,
        "compile": True,
        "graphs": True,
        "deterministic": True,
        "sync_norm": True,
        "decay_norms": True,
        "augment": "none",
    }
    changes = {field: other.get(field, 0.33)} | ({"compile": True} if field == "graphs" else {})
    recipe = replace(SPEC.recipe, **changes)
    assert replace(SPEC, recipe=recipe).hash != SPEC.hash


def test_the_hash_is_the_same_in_every_process_and_release():
    """A change here orphans everybody's finished trials."""
    assert SPEC.name == "bam-seed0-f5060567"
    comparison = Comparison(
        "resnet20", ("none", "se", "bam", "cbam"), "cifar100", 1, Recipe(4, precision="bf16"), stem="small"
    )
    assert [spec.name for spec in comparison.trials()] == [
        "none-seed0-b99b1d7b",
        "se-seed0-636bb5df",
        "bam-seed0-853e06bb",
        "cbam-seed0-a6dc51d0",
    ]


def test_1_and_1_0_are_one_learning_rate():
    assert replace(SPEC, recipe=Recipe(lr=1)).hash == replace(SPEC, recipe=Recipe(lr=1.0)).hash


@pytest.mark.parametrize(
    ("gate", "start"),
    [
        ("bam:combine=product:reduction=8", "bam-combine=product-reduction=8-seed0-"),
        ("../../etc", "etc-seed0-"),
        ("a b/c\\d", "a-b-c-d-seed0-"),
        ("x" * 300, "x" * 80 + "-seed0-"),
    ],
    ids=["options", "dots", "separators", "long"],
)
def test_folder_names_are_safe(gate, start):
    name = replace(SPEC, gate=gate).name
    assert name.startswith(start)
    assert re.fullmatch(r"[A-Za-z0-9._+=-]+", name)


@pytest.mark.parametrize("gate", ["bam", "bam:reduction=8", "cbam", "se", "channel", "spatial"])
def test_the_default_place_is_that_of_attach(gate):
    places = {"bam": "bottlenecks", "bam:reduction=8": "bottlenecks", "cbam": "blocks", "se": "blocks"}
    assert default_place(gate) == plan(build("resnet8"), gate, input_size=(3, 32, 32)).at
    assert default_place(gate) == places.get(gate, default_place(gate))


def test_an_unknown_gate_has_no_place():
    with pytest.raises(GateError, match=r"^gate 'eca': there is no gate 'eca'"):
        default_place("eca")


def test_trials_run_seed_by_seed_with_each_gate_at_its_place():
    comparison = Comparison("resnet20", ("none", "bam", "se"), "scenes", seeds=2)
    trials = [(spec.seed, spec.gate, spec.at) for spec in comparison.trials()]
    arms = [("none", None), ("bam", "bottlenecks"), ("se", "blocks")]
    assert trials == [(seed, *arm) for seed in (0, 1) for arm in arms]


def test_one_place_for_all_gates_leaves_the_bare_host_alone():
    comparison = Comparison("resnet20", ("none", "bam"), "scenes", at="stages", start="identity")
    assert comparison.trial("bam", 0).at == "stages"
    assert comparison.trial("none", 0) == replace(comparison, at=None, start="preset").trial("none", 0)


def test_the_setting_is_free_of_what_may_grow():
    first = Comparison("resnet20", ("none", "bam"), "scenes", seeds=1)
    grown = replace(first, gates=("none", "bam", "se"), seeds=5, at="blocks", start="identity")
    assert first.setting() == grown.setting()
    assert first.setting() != replace(first, recipe=Recipe(epochs=9)).setting()


def test_a_comparison_comes_back_from_its_file():
    asked = Comparison("resnet20", ("none", "bam@blocks"), "scenes", seeds=2, recipe=Recipe(epochs=5), start="identity")
    assert Comparison.from_json(json.loads(json.dumps({"format": 1, "trials": ".", **asked.to_json()}))) == asked
