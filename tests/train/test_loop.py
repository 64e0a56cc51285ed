"""Whole trials on a toy: they learn, they repeat, they stop with the right words."""

import errno
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from train.toy import RECIPE, read_epochs, toy_net, toy_set, toy_splits

from whatwhere.data import ImageSet
from whatwhere.errors import RunError
from whatwhere.train import Evaluation, classification, train


def weights_of(folder):
    return load_file(folder / "best.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def outcome(trained):
    return trained.test_accuracy, trained.test_loss, trained.best_epoch, trained.validation_accuracy


def test_learns_and_writes_down(tmp_path):
    heard = []
    splits, model = toy_splits(), toy_net()
    done = train(model, splits, RECIPE, seed=0, folder=tmp_path / "a" / "b", on_epoch=heard.append)
    epochs = read_epochs(tmp_path / "a" / "b" / "metrics.jsonl")
    assert done.test_accuracy > 0.9
    assert done.epochs == 4
    assert epochs == heard
    assert [one.epoch for one in epochs] == [1, 2, 3, 4]
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert done.validation_accuracy == max(one.validation_accuracy for one in epochs)
    assert epochs[done.best_epoch - 1].validation_accuracy == done.validation_accuracy
    assert done.train_seconds == pytest.approx(sum(one.seconds for one in epochs))
    assert done.images_per_second == pytest.approx(4 * 72 / done.train_seconds)
    assert done.waiting == pytest.approx(sum(one.waiting * one.seconds for one in epochs) / done.train_seconds)
    assert done.peak_bytes == max(one.peak_bytes for one in epochs)
    assert done.test_accuracy <= done.test_top5 <= 1
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {
        "metrics.jsonl",
        "metrics.csv",
        "checkpoint.pt",
        "best.safetensors",
    }
    assert same(weights_of(tmp_path / "a" / "b"), model.state_dict())
    assert epochs[0].lr == RECIPE.lr_at(4.5 / 5 / 4)


def test_the_same_seed_gives_the_same_bits_and_leaves_the_callers_chance_alone(tmp_path):
    before = torch.get_rng_state()
    first = train(toy_net(), toy_splits(), RECIPE, seed=3, folder=tmp_path / "first")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(100)
    second = train(toy_net(), toy_splits(), RECIPE, seed=3, folder=tmp_path / "second")
    other = train(toy_net(), toy_splits(), RECIPE, seed=4, folder=tmp_path / "other")
    assert outcome(first) == outcome(second)
    assert same(weights_of(tmp_path / "first"), weights_of(tmp_path / "second"))
    assert outcome(first)[1] != outcome(other)[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"optimiser": "adamw", "lr": 0.02},
        {"schedule": "step", "warmup_epochs": 0.5, "clip_norm": 1.0, "label_smoothing": 0.1},
        {"channels_last": False, "padding": 0, "flip": False},
    ],
    ids=["bf16", "adamw", "step and all the rest", "contiguous, as they are"],
)
def test_other_recipes_learn_too(tmp_path, changes):
    recipe = replace(RECIPE, **changes)
    assert train(toy_net(), toy_splits(), recipe, seed=0, folder=tmp_path).test_accuracy > 0.9


def test_bf16_differs_and_leaves_no_autocast_behind(tmp_path):
    model, recipe = toy_net(), replace(RECIPE, epochs=1, precision="bf16")
    seen = []
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    train(model, toy_splits(), recipe, seed=0, folder=tmp_path)
    assert set(seen) == {torch.bfloat16}
    assert "forward" not in vars(model)
    assert model(torch.zeros(1, 3, 8, 8)).dtype == torch.float32


def fed(model):
    """What the first layer is given while training, a list that fills."""
    batches = []

    def keep(module, inputs):
        if model.training:
            batches.append(inputs[0].detach())

    model.conv.register_forward_pre_hook(keep)
    return batches


def test_every_epoch_has_its_own_order_and_augmentation(tmp_path):
    plain = {"epochs": 2, "padding": 0, "flip": False, "batch_size": 72}
    for name, changes in (("order", plain), ("augmentation", {**plain, "padding": 2})):
        model = toy_net()
        first, second = train_and_feed(model, replace(RECIPE, **changes), tmp_path / name)
        assert not torch.equal(first, second)
        sums = [sorted(batch.double().sum((1, 2, 3)).tolist()) for batch in (first, second)]
        assert (sums[0] == sums[1]) == (name == "order")


def train_and_feed(model, recipe, folder):
    batches = fed(model)
    train(model, toy_splits(), recipe, seed=0, folder=folder)
    return batches


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
def test_memory_format(tmp_path, channels_last):
    model = toy_net()
    wanted = torch.channels_last if channels_last else torch.contiguous_format
    images = train_and_feed(model, replace(RECIPE, epochs=1, channels_last=channels_last), tmp_path)[0]
    assert images.is_contiguous(memory_format=wanted)
    assert model.conv.weight.is_contiguous(memory_format=wanted)


def test_clip_norm_bounds_a_step(tmp_path):
    recipe = replace(RECIPE, epochs=1, batch_size=72, weight_decay=0.0, lr=1.0, momentum=0.0, nesterov=False)
    moved = []
    for clip_norm in (None, 1e-3):
        model = toy_net()
        name = f"clip {clip_norm}"
        train(model, toy_splits(), replace(recipe, clip_norm=clip_norm), seed=0, folder=tmp_path / name)
        steps = [(new - old).norm() for new, old in zip(model.parameters(), toy_net().parameters(), strict=True)]
        moved.append(torch.stack(steps).norm().item())
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(1e-3 * recipe.lr_at(0.5), rel=0.01)


def test_label_smoothing_is_in_the_training_loss_alone(tmp_path):
    """The loss is linear in the smoothing: half of it gives the mean of none and all."""
    losses = {}
    for smoothing in (0.0, 0.5, 0.999999):
        recipe = replace(RECIPE, epochs=1, batch_size=72, lr=1e-12, label_smoothing=smoothing)
        train(toy_net(), toy_splits(), recipe, seed=0, folder=tmp_path / str(smoothing))
        (losses[smoothing],) = read_epochs(tmp_path / str(smoothing) / "metrics.jsonl")
    assert losses[0.5].train_loss != losses[0.0].train_loss
    middle = (losses[0.0].train_loss + losses[0.999999].train_loss) / 2
    assert losses[0.5].train_loss == pytest.approx(middle, rel=1e-5)
    assert losses[0.5].validation_loss == pytest.approx(losses[0.0].validation_loss, rel=1e-6)


def test_a_last_batch_of_one_is_left_out(tmp_path):
    model = toy_net()
    batches = fed(model)
    train(model, toy_splits(train=33), replace(RECIPE, epochs=1), seed=0, folder=tmp_path)
    assert [len(batch) for batch in batches] == [16, 16]


def test_the_test_images_are_looked_at_once(tmp_path, monkeypatch):
    seen = []
    splits = toy_splits()

    def spy(model, images, *args, **kwargs):
        seen.append("test" if torch.equal(images.labels, splits.test.labels) else "validation")
        return evaluate(model, images, *args, **kwargs)

    evaluate = classification.evaluate
    monkeypatch.setattr(classification, "evaluate", spy)
    first = train(toy_net(), splits, RECIPE, seed=0, folder=tmp_path)
    assert seen == ["validation"] * 4 + ["test"]
    seen.clear()
    heard = []
    assert train(toy_net(), splits, RECIPE, seed=0, folder=tmp_path, on_epoch=heard.append) == first
    assert seen == ["test"]
    assert heard == []


@pytest.mark.parametrize(("batch_size", "evaluated"), [(8, [16, 16, 8]), (16, [32, 8]), (300, [40])])
def test_evaluation_needs_no_more_memory_than_training(tmp_path, batch_size, evaluated):
    model, sizes = toy_net(), []
    model.register_forward_pre_hook(lambda _, inputs: None if model.training else sizes.append(len(inputs[0])))
    train(model, toy_splits(), replace(RECIPE, epochs=1, batch_size=batch_size), seed=0, folder=tmp_path)
    assert sizes == evaluated * 2


def test_however_large_the_batch_no_more_than_500_images_are_evaluated_at_once(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        classification, "evaluate", lambda *_, batch_size, **__: sizes.append(batch_size) or Evaluation(1.0, 0.5, 0.5)
    )
    train(toy_net(), toy_splits(), replace(RECIPE, epochs=1, batch_size=400), seed=0, folder=tmp_path)
    assert sizes == [500, 500]


class Hungry(nn.Module):
    """A network that finds no memory for more than ``most`` images, from its n-th step on."""

    def __init__(self, step, training, most):
        super().__init__()
        self.net, self.step, self.when, self.most, self.steps = toy_net(), step, training, most, 0

    def forward(self, images):
        self.steps += self.training == self.when
        if self.training == self.when and self.steps >= self.step and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nAnd more.")
        return self.net(images)


@pytest.mark.parametrize(
    ("step", "training", "most", "where", "fix"),
    [
        (1, True, 8, "at epoch 1, batch of 16", "accumulate=2 for the same step in smaller parts or batch_size=8"),
        (6, True, 5, "at epoch 2, batch of 16", "accumulate=4 for the same step in smaller parts or batch_size=4"),
        (6, True, 1, "at epoch 2, batch of 16", "a smaller network or smaller images"),
        (1, False, 8, "at epoch 1, batch of 16", "a smaller batch_size"),
        (9, False, 8, "at the test images, batch of 16", "a smaller batch_size"),
    ],
    ids=["first step", "second epoch", "not even two", "validation", "test"],
)
def test_out_of_memory(tmp_path, step, training, most, where, fix):
    with pytest.raises(RunError) as caught:
        train(Hungry(step, training, most), toy_splits(), RECIPE, seed=0, folder=tmp_path)
    assert str(caught.value) == (
        f"train: out of memory {where}\n"
        "  got: CUDA out of memory. Tried to allocate 2 GiB.\n"
        f"  fix: {fix}; finished epochs stay"
    )


def test_images_that_the_device_cannot_hold(tmp_path, monkeypatch):
    def full(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(ImageSet, "to", full)
    with pytest.raises(RunError) as caught:
        train(toy_net(), toy_splits(), RECIPE, seed=0, folder=tmp_path)
    assert str(caught.value) == (
        "train: out of memory at moving the images of 'toy' to the cpu\n"
        "  got: CUDA out of memory.\n"
        "  fix: fewer (limit=)"
    )


class Spoilt(nn.Module):
    """A network whose output is spoilt from its n-th training step on."""

    def __init__(self, step, value):
        super().__init__()
        self.net, self.step, self.value, self.steps = toy_net(), step, value, 0

    def forward(self, images):
        self.steps += self.training
        return self.net(images) * (self.value if self.training and self.steps >= self.step else 1.0)


DIVERGED = "\n  fix: a lower lr, warmup_epochs, clip_norm, or precision='fp32'; the checkpoint before it stays"


@pytest.mark.parametrize(
    ("step", "batch_size", "words"),
    [
        (3, 16, "at epoch 1, step 3"),
        (5, 16, "at epoch 1, step 5"),
        (6, 16, "at epoch 2, step 1"),
        (20, 2, "at epoch 1, step 20"),
        (25, 2, "at epoch 1, step 25"),
    ],
)
def test_a_loss_that_is_no_number(tmp_path, step, batch_size, words):
    recipe = replace(RECIPE, batch_size=batch_size, lr=1e-3)
    with pytest.raises(RunError) as caught:
        train(Spoilt(step, torch.nan), toy_splits(), recipe, seed=0, folder=tmp_path)
    assert str(caught.value) == f"train: the loss became nan {words}{DIVERGED}"
    assert (tmp_path / "checkpoint.pt").exists() == (step == 6)


def test_a_validation_loss_that_is_no_number(tmp_path):
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = toy_net()

        def forward(self, images):
            return self.net(images) if self.training else self.net(images) * torch.nan

    with pytest.raises(RunError) as caught:
        train(Blind(), toy_splits(), RECIPE, seed=0, folder=tmp_path)
    assert str(caught.value) == f"train: the validation loss became nan after epoch 1{DIVERGED}"


def test_an_empty_part(tmp_path):
    splits = replace(toy_splits(), validation=toy_set(0, 0))
    with pytest.raises(RunError) as caught:
        train(toy_net(), splits, RECIPE, seed=0, folder=tmp_path)
    assert str(caught.value) == (
        "train: 'toy' has no validation images\n  fix: load it with enough images for each part"
    )


@pytest.mark.parametrize(
    ("change", "first_line"),
    [
        ({"seed": 1}, "  got: seed=1; in the file seed=0"),
        ({"recipe": replace(RECIPE, lr=0.5, flip=False)}, "  got: lr=0.5, flip=False; in the file lr=0.05, flip=True"),
        ({"data": toy_splits(train=40)}, "  got: train_images=40; in the file train_images=72"),
    ],
    ids=["seed", "recipe", "data"],
)
def test_another_trials_folder(tmp_path, change, first_line):
    asked = {"model": toy_net(), "data": toy_splits(), "recipe": RECIPE, "seed": 0}
    train(**asked, folder=tmp_path)
    with pytest.raises(RunError) as caught:
        train(**{**asked, **change}, folder=tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[:2] == [f"train: '{tmp_path / 'checkpoint.pt'}' belongs to another trial", first_line]


def test_another_networks_folder(tmp_path):
    recipe = replace(RECIPE, epochs=1)
    train(toy_net(), toy_splits(), recipe, seed=0, folder=tmp_path)
    with pytest.raises(RunError, match=r"belongs to another network\n  got: 'conv.weight' is \(4, 3, 3, 3\)"):
        train(toy_net(width=4), toy_splits(), recipe, seed=0, folder=tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_disk_that_refuses(tmp_path, monkeypatch, number):
    def fail_from_epoch_three(one):
        if one.epoch == 2:
            monkeypatch.setattr(os, "fsync", fail)

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    with pytest.raises(RunError) as caught:
        train(toy_net(), toy_splits(), RECIPE, seed=0, folder=tmp_path / "cut", on_epoch=fail_from_epoch_three)
    assert caught.value.rule == f"train: cannot write '{tmp_path / 'cut' / 'metrics.jsonl'}': {os.strerror(number)}"
    monkeypatch.undo()
    assert not list((tmp_path / "cut").glob(".*"))
    cut = train(toy_net(), toy_splits(), RECIPE, seed=0, folder=tmp_path / "cut")
    assert outcome(cut) == outcome(train(toy_net(), toy_splits(), RECIPE, seed=0, folder=tmp_path / "whole"))


def test_a_finished_trial_in_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    recipe = replace(RECIPE, epochs=1)  # so that the best epoch is the last, whose weights a resumed trial checks
    first = train(toy_net(), toy_splits(), recipe, seed=0, folder=tmp_path)
    monkeypatch.setattr(os, "replace", None)
    assert train(toy_net(), toy_splits(), recipe, seed=0, folder=tmp_path) == first
