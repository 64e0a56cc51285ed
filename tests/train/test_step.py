"""Micro-batches, compiled steps and rehearsals leave the step what it is."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from train.toy import RECIPE, read_epochs, toy_net, toy_splits

import whatwhere as ww
from whatwhere import hosts
from whatwhere.errors import RunError
from whatwhere.train import train

ONE = replace(RECIPE, epochs=1)


class Calm(nn.Module):
    """A network that does not look at its batch, nor draw any chance."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))


@pytest.mark.parametrize("accumulate", [2, 8, 16])
def test_parts_of_a_batch_make_the_same_step(tmp_path, accumulate):
    weights, epochs = [], []
    for number in (1, accumulate):
        model = Calm()
        train(model, toy_splits(67), replace(ONE, accumulate=number), seed=0, folder=tmp_path / str(number))
        weights.append(model.state_dict())
        epochs += read_epochs(tmp_path / str(number) / "metrics.jsonl")
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, msg=name)
    assert epochs[1].train_loss == pytest.approx(epochs[0].train_loss, rel=1e-6)
    assert epochs[1].train_accuracy == epochs[0].train_accuracy


def test_no_part_of_a_short_batch_is_a_single_image(tmp_path):
    model, sizes = toy_net(), []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])) if model.training else None)
    train(model, toy_splits(67), replace(ONE, accumulate=4), seed=0, folder=tmp_path)
    assert sizes == [4] * 16 + [3]


def gated():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = hosts.build("resnet8", num_classes=2)
        ww.attach_(model, "cbam:reduction=4", input_size=(3, 8, 8))
    return model


@pytest.mark.slow
def test_a_compiled_gated_network_learns_the_same(tmp_path):
    epochs = []
    for compiled in (False, True):
        model = gated()
        names = list(model.state_dict())
        train(model, toy_splits(), replace(ONE, compile=compiled), seed=0, folder=tmp_path / str(compiled))
        assert list(model.state_dict()) == names
        assert "_compiled_call_impl" not in vars(model) or model._compiled_call_impl is None
        epochs += read_epochs(tmp_path / str(compiled) / "metrics.jsonl")
    assert epochs[1].train_loss == pytest.approx(epochs[0].train_loss, rel=1e-3)


def test_what_is_compiled_and_what_is_not(tmp_path, monkeypatch):
    """The compiler gets whole batches, after one rehearsal that changes nothing; a short one runs as it is."""
    asked, sizes = {}, []

    def stand_in(function, **options):
        asked.update(options)

        def compiled(images, labels):
            sizes.append(len(labels))
            return function(images, labels)

        return compiled

    monkeypatch.setattr(torch, "compile", stand_in)
    plain, compiled = toy_net(), toy_net()
    train(plain, toy_splits(), ONE, seed=0, folder=tmp_path / "plain")
    train(compiled, toy_splits(), replace(ONE, compile=True), seed=0, folder=tmp_path / "compiled")
    assert sizes == [16] * 5
    assert asked == {"fullgraph": True, "dynamic": False, "mode": None}
    first, second = plain.state_dict(), compiled.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_compiled_network_for_other_classes(tmp_path):
    with pytest.raises(RunError) as caught:
        train(toy_net(classes=10), toy_splits(), replace(ONE, compile=True), seed=0, folder=tmp_path)
    assert str(caught.value) == (
        "train: a network for 'toy' gives 2 numbers for each image, one for each class\n"
        "  got: an output of shape (1, 10)\n"
        "  fix: build the network with num_classes=2"
    )


def test_no_memory_for_compiling_either(tmp_path):
    class Hungry(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = toy_net()

        def forward(self, images):
            if len(images) > 4:
                raise torch.OutOfMemoryError("no memory")
            return self.net(images)

    model = Hungry()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RunError, match="accumulate=4 for the same step in smaller parts or batch_size=4"):
        train(model, toy_splits(), ONE, seed=0, folder=tmp_path)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
