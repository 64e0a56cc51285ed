"""What a step is given: every image once an epoch, by the seed alone, however many processes share it."""

from itertools import chain

import pytest
import torch
from support.detection_parts import made_objects, made_part

from whatwhere.data.box_readers import BoxReaders, Sample
from whatwhere.data.box_transforms import Augmentation
from whatwhere.detect.feeding import BoxBatch, BoxFeed
from whatwhere.train.ranks import Ranks


def part(count):
    """Image i is of one brightness, i; the even ones are upright."""
    images = [torch.full((3, 12 if i % 2 == 0 else 8, 9), i, dtype=torch.uint8) for i in range(count)]
    return made_part([made_objects([[1, 1, 6, 5]], [i % 3]) for i in range(count)], images=images)


def feed(images, batch_size, *, kind="none", side=None, seed=0, ranks=None):
    return BoxFeed(
        part(images), Augmentation(kind, side), batch_size, seed, ranks or Ranks(), BoxReaders("train", workers=0)
    )


def shown(batches):
    """The number of each image, batch by batch."""
    return [[int(sample.image.max()) for sample in batch.samples] for batch in batches]


@pytest.mark.parametrize(("images", "size", "steps"), [(12, 4, 3), (14, 4, 4), (3, 8, 1), (5, 1, 5), (1, 4, 1)])
def test_each_image_comes_once_an_epoch(images, size, steps):
    one = feed(images, size)
    batches = list(one.epoch(1, first_step=0))
    assert len(batches) == one.steps == steps
    assert sorted(chain(*shown(batches))) == list(range(images))
    assert [batch.total for batch in batches] == [len(batch) for batch in batches]


def test_a_last_batch_of_one_image_is_left_out_another_one_each_epoch():
    one = feed(13, 4)
    left = set()
    for number in range(1, 6):
        seen = list(chain(*shown(one.epoch(number, first_step=0))))
        assert len(seen) == len(set(seen)) == 12
        left |= set(range(13)) - set(seen)
    assert one.steps == 3
    assert len(left) > 1


def test_the_order_is_of_the_seed_and_the_epoch():
    first = shown(feed(12, 4).epoch(1, first_step=0))
    assert first == shown(feed(12, 4).epoch(1, first_step=0))
    assert first != shown(feed(12, 4).epoch(2, first_step=0))
    assert first != shown(feed(12, 4, seed=1).epoch(1, first_step=0))


def same(one, other):
    return all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("step", [1, 2])
def test_steps_that_were_taken_are_skipped(step):
    whole = list(feed(12, 4, kind="flip").epoch(3, first_step=0))
    rest = list(feed(12, 4, kind="flip").epoch(3, first_step=step))
    assert len(rest) == 3 - step
    for one, other in zip(whole[step:], rest, strict=True):
        assert all(map(same, one.samples, other.samples))


@pytest.mark.parametrize(("images", "size"), [(16, 4), (14, 8), (15, 8), (13, 4)])
def test_two_processes_see_the_batches_of_one(images, size):
    """Changed the same way, too; what is left of 14 and 15 images is shared unevenly or not at all."""
    alone = list(feed(images, size, kind="ssd", side=16).epoch(1, first_step=0))
    shares = [
        list(feed(images, size, kind="ssd", side=16, ranks=Ranks(rank, 2)).epoch(1, first_step=0)) for rank in (0, 1)
    ]
    for whole, first, second in zip(alone, *shares, strict=True):
        assert first.copied is second.copied is False
        assert first.total == second.total == len(whole)
        assert all(map(same, whole.samples, [*first.samples, *second.samples]))


@pytest.mark.parametrize(("images", "left"), [(10, 2), (11, 3), (3, 3)])
def test_a_last_batch_too_small_to_share_goes_to_both(images, left):
    (*_, alone), *shares = (
        list(feed(images, 4, ranks=ranks).epoch(1, first_step=0)) for ranks in (Ranks(), Ranks(0, 2), Ranks(1, 2))
    )
    for *_, last in shares:
        assert (last.copied, len(last), last.total) == (True, left, 2 * left)
        assert all(map(same, alone.samples, last.samples))


def test_batches_of_an_image_for_each_process_are_shared():
    """As detectors with frozen norms are trained: two processes, two images."""
    first, second = (shown(feed(6, 2, ranks=Ranks(rank, 2)).epoch(1, first_step=0)) for rank in (0, 1))
    assert [len(batch) for batch in (*first, *second)] == 6 * [1]
    assert sorted(chain(*first, *second)) == list(range(6))


def upright(batch):
    return {number % 2 == 0 for number in batch}


def test_upright_images_come_together_where_shapes_stay():
    batches = shown(feed(24, 4).epoch(1, first_step=0))
    assert all(len(upright(batch)) == 1 for batch in batches)


def test_squares_come_in_any_company():
    one = feed(24, 4, side=8)
    batches = list(one.epoch(1, first_step=0))
    assert any(len(upright(batch)) == 2 for batch in shown(batches))
    assert {sample.image.shape for batch in batches for sample in batch.samples} == {(3, 8, 8)}
    assert sorted(chain(*shown(batches))) == list(range(24))


@pytest.mark.parametrize(("images", "count", "sizes"), [(4, 2, [2, 2]), (5, 2, [2, 3]), (3, 1, [3])])
def test_micro_batches_are_the_slice_in_its_order(images, count, sizes):
    known = part(images)
    samples = [Sample(known.image(i), known.objects(i).boxes, known.objects(i).labels) for i in range(images)]
    parts = BoxBatch(samples, images).parts(count)
    assert [len(pictures) for pictures, _ in parts] == sizes
    assert all(pictures is targets for pictures, targets in parts)
    assert [sample for pictures, _ in parts for sample in pictures] == samples


def test_what_a_detector_learns_has_no_crowds():
    objects = made_objects([[0, 0, 4, 4], [1, 1, 6, 5]], [2, 1], crowd=[True, False])
    known = made_part([objects, objects], images=[torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2)
    ((first, _),) = (
        batch.samples
        for batch in BoxFeed(known, Augmentation(), 2, 0, Ranks(), BoxReaders("train", 0)).epoch(1, first_step=0)
    )
    assert (first.boxes.tolist(), first.labels.tolist()) == ([[1, 1, 6, 5]], [1])
