"""Evaluation and tallies against sums made in one go."""

import pytest
import torch
from torch.nn import functional
from train.toy import toy_net, toy_set, toy_splits

from whatwhere.data import normalise
from whatwhere.errors import RunError
from whatwhere.train import evaluate
from whatwhere.train.tally import Tally


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("batch_size", [7, 40, 500])
def test_the_same_whatever_the_batches(batch_size, channels_last):
    splits, model = toy_splits(), toy_net()
    found = evaluate(model, splits.test, splits, batch_size=batch_size, channels_last=channels_last)
    with torch.no_grad():
        logits = model.eval()(normalise(splits.test.images, splits.mean, splits.std))
    labels = splits.test.labels
    assert found.loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-6)
    assert found.accuracy == (logits.argmax(1) == labels).double().mean().item()


def test_eval_mode_and_no_gradient():
    splits, model = toy_splits(), toy_net().train()
    before = model.norm.running_mean.clone()
    kept = []
    model.head.register_forward_hook(lambda module, inputs, output: kept.append(output.requires_grad))
    evaluate(model, splits.validation, splits)
    assert kept == [False]
    assert not model.training
    assert torch.equal(model.norm.running_mean, before)


def test_a_network_for_other_classes():
    splits = toy_splits()
    with pytest.raises(RunError) as caught:
        evaluate(toy_net(classes=10), splits.test, splits)
    assert str(caught.value) == (
        "train: a network for 'toy' gives 2 numbers for each image, one for each class\n"
        "  got: an output of shape (40, 10)\n"
        "  fix: build the network with num_classes=2"
    )


def test_no_images():
    splits = toy_splits()
    with pytest.raises(RunError) as caught:
        evaluate(toy_net(), toy_set(0, 0), splits)
    assert str(caught.value) == "evaluate: there is no image to look at in this part of 'toy'"


def test_tally_weighs_batches_by_their_images_and_finds_the_first_bad_one():
    tally = Tally()
    assert tally.read() is None
    right, wrong = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    tally.add(torch.tensor(1.0), right.expand(3, 2), torch.ones(3, dtype=torch.int64))
    tally.add(torch.tensor(5.0), wrong, torch.ones(1, dtype=torch.int64))
    assert tally.read() is None
    assert (tally.images, tally.loss, tally.accuracy) == (4, 2.0, 0.75)
    tally.add(torch.tensor(1.0), right, torch.ones(1, dtype=torch.int64))
    for _ in range(2):
        tally.add(torch.tensor(torch.inf), right, torch.ones(1, dtype=torch.int64))
    assert tally.read() == (4, torch.inf)
