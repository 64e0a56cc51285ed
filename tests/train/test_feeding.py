"""What each process is fed, from memory and from a stream."""

from dataclasses import replace

import pytest
import torch
from train.toy import RECIPE, read_epochs, toy_net, toy_set, toy_splits

from whatwhere.errors import RunError
from whatwhere.train import Recipe, train
from whatwhere.train.feeding import Feed, check_batch, in_order
from whatwhere.train.ranks import Ranks
from whatwhere.train.seeds import seed_of

CPU = torch.device("cpu")


class Streamed:
    """A stream over an image set, as `whatwhere.data` has them over shards; it forgets where it is each epoch."""

    def __init__(self, images, ends=None):
        self.images, self.shape, self.classes, self.ends = images, images.shape, ("top", "bottom"), ends
        self.first_steps = []

    def __len__(self):
        return len(self.images)

    def to(self, device):
        return self

    def epoch(self, *, seed, batch_size, first_step=0, rank=0, world=1):
        self.first_steps.append(first_step)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        for whole in order.split(batch_size)[first_step : self.ends]:
            mine = whole.tensor_split(world)[rank]
            yield self.images.images[mine], self.images.labels[mine]

    def batches(self, size, *, rank=0, world=1):
        for chosen in torch.arange(len(self)).tensor_split(world)[rank].split(size):
            yield self.images.images[chosen], self.images.labels[chosen]


def fed(world, images=72, epoch=2, first_step=0, kind=lambda images: images):
    part = kind(toy_set(images, 1))
    feeds = [
        Feed(part, RECIPE, 5, Ranks(rank, world), CPU).epoch(epoch, first_step=first_step) for rank in range(world)
    ]
    return list(zip(*feeds, strict=True))


@pytest.mark.parametrize("kind", [lambda images: images, Streamed], ids=["memory", "stream"])
def test_two_processes_share_what_one_sees(kind):
    alone, shared = fed(1, kind=kind), fed(2, kind=kind)
    assert [len(both) for both in shared] == [2] * 5
    for (whole,), parts in zip(alone, shared, strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
        assert {part.total for part in parts} == {whole.total} == {len(whole.labels)}


@pytest.mark.parametrize("kind", [lambda images: images, Streamed], ids=["memory", "stream"])
def test_an_epoch_can_begin_anywhere(kind):
    whole, rest = fed(1, kind=kind), fed(1, first_step=3, kind=kind)
    assert len(rest) == 2
    for (one,), (other,) in zip(whole[3:], rest, strict=True):
        assert torch.equal(one.images, other.images)


def test_a_last_batch_too_small_to_share():
    *_, last = fed(2, images=67)
    assert [(len(part.labels), part.total, part.copied) for part in last] == [(3, 6, True)] * 2
    assert torch.equal(last[0].images, last[1].images)
    assert len(fed(2, images=67, kind=Streamed)) == 4
    assert len(fed(1, images=67, kind=Streamed)) == 5
    assert len(fed(1, images=65)) == 4


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("kind", [lambda images: images, Streamed], ids=["memory", "stream"])
def test_each_image_is_evaluated_once(kind, world):
    images = toy_set(40, 2)
    parts = [list(in_order(kind(images), 7, Ranks(rank, world), CPU)) for rank in range(world)]
    found = torch.cat([batch for part in parts for batch, _ in part])
    assert torch.equal(found, images.images)


@pytest.mark.parametrize(
    ("size", "world", "accumulate", "fix"),
    [(130, 4, 8, "batch_size=128 or batch_size=160"), (3, 2, 2, "batch_size=4")],
)
def test_a_batch_that_cannot_be_shared(size, world, accumulate, fix):
    check_batch(Recipe(batch_size=128, accumulate=8), Ranks(0, 4))
    with pytest.raises(RunError) as caught:
        check_batch(Recipe(batch_size=size, accumulate=accumulate), Ranks(0, world))
    assert str(caught.value) == (
        f"train(Recipe(batch_size={size}, accumulate={accumulate})): a batch is shared evenly by the processes and "
        f"their micro-batches\n  got: {world} x {accumulate} micro-batches\n  fix: {fix}"
    )


def streamed(ends=None):
    splits = toy_splits()
    return replace(splits, train=Streamed(splits.train, ends), validation=Streamed(splits.validation))


def test_a_trial_on_streams(tmp_path):
    splits = streamed()
    done = train(toy_net(), splits, RECIPE, seed=0, folder=tmp_path)
    assert done.test_accuracy > 0.9
    assert splits.train.first_steps == [0] * 4
    epochs = read_epochs(tmp_path / "metrics.jsonl")
    assert all(0 <= one.waiting <= 1 for one in epochs)
    assert all(one.peak_bytes > 10**7 for one in epochs)


def test_a_stream_that_ends_too_soon(tmp_path):
    with pytest.raises(RunError) as caught:
        train(toy_net(), streamed(ends=3), RECIPE, seed=0, folder=tmp_path)
    assert str(caught.value) == (
        "train: the training images of 'toy' came to an end too soon\n"
        "  got: none for epoch 1, step 4 of 5\n"
        "  fix: the same call goes on from the last checkpoint"
    )


def test_a_seed_for_every_place():
    assert seed_of("order", 0, 1) == seed_of("order", 0, 1)
    seeds = {seed_of(word, *place) for word in ("order", "augment") for place in ((0, 1), (1, 0), (0, 1, 0), (0, 11))}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
