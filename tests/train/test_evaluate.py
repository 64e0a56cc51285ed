"""Evaluation and tallies against sums made in one go."""

import pytest
import torch
from torch.nn import functional
from train.toy import toy_net, toy_set, toy_splits

from whatwhere.data import normalise
from whatwhere.errors import RunError
from whatwhere.train import evaluate
from whatwhere.train.tally import Tally, hits


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


def shown(tally, loss, logits, count):
    labels = torch.ones(count, dtype=torch.int64)
    tally.add(torch.tensor(loss), hits(torch.tensor([logits]).expand(count, 2), labels)[None], count)


def test_tally_weighs_batches_by_their_images_and_finds_the_first_bad_one():
    tally = Tally()
    assert tally.read() is None
    right, wrong = (0.0, 1.0), (1.0, 0.0)
    shown(tally, 1.0, right, 3)
    shown(tally, 5.0, wrong, 1)
    assert tally.read() is None
    assert (tally.images, tally.loss, tally.noted) == (4, 2.0, [0.75])
    tally = Tally(state=tally.state())
    assert (tally.images, tally.loss, tally.noted) == (4, 2.0, [0.75])
    shown(tally, 1.0, right, 1)
    for _ in range(2):
        shown(tally, torch.inf, right, 1)
    assert tally.read() == (4, torch.inf)


def test_a_label_among_the_five_highest():
    logits = torch.arange(10.0).repeat(3, 1)
    labels = torch.tensor([9, 5, 4])
    assert [hits(logits, labels, among).item() for among in (1, 4, 5, 6, 99)] == [1, 1, 2, 3, 3]


def test_top5_of_a_network():
    splits, model = toy_splits(), toy_net()
    with torch.no_grad():
        logits = model.eval()(normalise(splits.test.images, splits.mean, splits.std))
    expected = hits(logits, splits.test.labels, among=5).item() / len(splits.test)
    assert evaluate(model, splits.test, splits, batch_size=7).top5 == expected
