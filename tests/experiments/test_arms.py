"""Arms of real parts: the same host under every gate, and a comparison that runs from end to end."""

from contextlib import contextmanager

import pytest
import torch

from whatwhere.attach import host_state_dict
from whatwhere.errors import AttachError, GateError, HostError
from whatwhere.experiments import Comparison, arms, classifying, compare, comparison
from whatwhere.experiments.arms import arm_cost, build_arm
from whatwhere.train import Recipe

ARMS = Comparison("resnet20", ("none", "se", "bam", "cbam"), "tiny", seeds=2, recipe=Recipe(batch_size=4))


@pytest.mark.parametrize("gate", ["se", "bam", "cbam"])
def test_the_hosts_weights_are_the_same_with_and_without_a_gate(splits, gate):
    bare, gated = (build_arm(ARMS.trial(name, 1), splits) for name in ("none", gate))
    expected, found = bare.model.state_dict(), host_state_dict(gated.model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(gated.sites) == {"se": 9, "bam": 2, "cbam": 9}[gate]


def test_another_seed_gives_other_gates_and_the_same_seed_the_same(splits):
    first, again, other = (build_arm(ARMS.trial("bam", seed), splits).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    gates = [name for name in first if name not in build_arm(ARMS.trial("none", 0), splits).model.state_dict()]
    assert gates
    assert any(not torch.equal(first[name], other[name]) for name in gates)


def test_the_random_state_of_every_gpu_is_kept(splits, monkeypatch):
    kept = []

    @contextmanager
    def fork(devices):
        kept.append(list(devices))
        yield

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", fork)
    build_arm(ARMS.trial("none", 0), splits)
    assert kept == [[0, 1]]


def test_images_too_small_for_the_host_are_told_before_training(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(classifying, "load", lambda name, **_: splits)
    monkeypatch.setattr(comparison, "run_trials", None)
    asked = Comparison("torchvision/inception_v3", ("se", "none"), "tiny", recipe=Recipe(batch_size=4))
    with pytest.raises(HostError) as caught:
        compare(asked, tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "compare: Inception3 cannot be trained on images of 8 x 8"
    assert lines[1].startswith("  got: (4, 3, 8, 8); RuntimeError: ")
    assert lines[2] == (
        "  fix: larger images: --image-size (image_size=), where the data set can have them; or another host"
    )
    assert list(tmp_path.iterdir()) == []


def test_costs_are_of_one_image(splits):
    model = build_arm(ARMS.trial("none", 0), splits).model
    small, large = (arm_cost(model, model, splits.train.shape, batch) for batch in (4, 64))
    assert small.parameters == large.parameters == 269_722 - 8 * 65  # two classes for ten
    assert small.macs == large.macs
    assert small.bytes_kept == pytest.approx(large.bytes_kept, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "error", "rule"),
    [
        ({"gates": ("none", "bamm")}, (AttachError, GateError), "'bamm'"),
        ({"gates": ("none", "bam"), "at": "layer9"}, AttachError, "layer9"),
        ({"host": "resnet21"}, HostError, "build('resnet21', num_classes=2): no such network"),
    ],
    ids=["gate", "place", "host"],
)
def test_unknown_names_end_before_training(splits, tmp_path, monkeypatch, changes, error, rule):
    monkeypatch.setattr(classifying, "load", lambda name, **_: splits)
    monkeypatch.setattr(comparison, "run_trials", None)
    words = {"host": "resnet20", "gates": ("none",), "data": "tiny", "recipe": Recipe(batch_size=4), **changes}
    with pytest.raises(error) as caught:
        compare(Comparison(**words), tmp_path)
    assert rule in str(caught.value).splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_takes_no_small_stem_keeps_its_own(splits):
    assert arms._stem("resnet20", (3, 8, 8)) == "small"
    assert arms._stem("torchvision/mobilenet_v2", (3, 8, 8)) == "standard"
    assert arms._stem("torchvision/resnet18", (3, 8, 8)) == "small"
    assert arms._stem("torchvision/regnet_y_400mf", (3, 8, 8)) == "standard"  # cannot be built on the meta device


def test_from_end_to_end_a_repeated_trial_gives_the_same_numbers(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(classifying, "load", lambda name, **_: splits)
    asked = Comparison("resnet20", ("none", "bam"), "tiny", seeds=1, recipe=Recipe(epochs=2, batch_size=4, lr=0.01))
    first, second = (compare(asked, tmp_path / name) for name in ("a", "b"))
    assert [arm["seeds"] for arm in first["arms"]] == [arm["seeds"] for arm in second["arms"]]
    assert first["arms"][1]["parameters"] > first["arms"][0]["parameters"]
    assert first["trained_on"] == [first["summarised_on"]]
    a, b = ((tmp_path / name / asked_name / "best.safetensors").read_bytes() for name, asked_name in _bam(tmp_path))
    assert a == b


def _bam(folder):
    return [(name, next((folder / name).glob("bam-seed0-*")).name) for name in ("a", "b")]
