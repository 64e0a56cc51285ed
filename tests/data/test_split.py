import pytest
import torch

from whatwhere.data.split import brightness, split
from whatwhere.errors import DataError

LABELS = torch.cat((torch.zeros(600), torch.ones(300), torch.full((100,), 2))).long()


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_parts_are_disjoint_whole_and_stratified(seed):
    train, validation = split(LABELS, validation=0.1, seed=seed)
    assert torch.equal(torch.cat((train, validation)).sort().values, torch.arange(1000))
    assert LABELS[validation].bincount().tolist() == [60, 30, 10]


def test_the_seed_alone_decides():
    first, again, other = (split(LABELS, validation=0.1, seed=seed)[1] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.rand(5)
    assert torch.equal(split(LABELS, validation=0.1, seed=3)[1], first)


def test_limits_nest_keep_the_proportions_and_leave_validation_alone():
    whole, held = split(LABELS, validation=0.2, seed=5)
    last = set(whole.tolist())
    for limit in (800, 400, 100, 10):
        train, validation = split(LABELS, validation=0.2, seed=5, limit=limit)
        assert len(train) == limit
        assert set(train.tolist()) <= last
        assert torch.equal(validation, held)
        assert abs(int((LABELS[train] == 0).sum()) - 0.6 * limit) <= 1
        last = set(train.tolist())


def test_no_validation_at_all_may_be_asked_for():
    train, validation = split(LABELS, validation=0, seed=0)
    assert (len(train), len(validation)) == (1000, 0)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, 0.0001, 0.9999, float("nan")])
def test_shares_that_leave_a_part_empty_are_refused(share):
    with pytest.raises(DataError) as caught:
        split(LABELS, validation=share, seed=0)
    assert str(caught.value) == (
        f"load(validation={share}): the share must lie in [0, 1) and leave an image in either part\n"
        "  got: 1000 images to share out"
    )


@pytest.mark.parametrize("limit", [0, -1, 901])
def test_limits_out_of_range_are_refused(limit):
    with pytest.raises(DataError) as caught:
        split(LABELS, validation=0.1, seed=0, limit=limit)
    assert str(caught.value) == (
        f"load(limit={limit}): the limit must lie between 1 and the number of training images\n"
        "  got: 900 training images, 100 held for validation"
    )


def test_brightness_is_the_mean_and_the_population_deviation():
    images = torch.randint(0, 256, (9000, 3, 4, 5), dtype=torch.uint8)
    images[:, 1] //= 3
    mean, std = brightness(images)
    scaled = images.double().transpose(0, 1).flatten(1) / 255
    assert mean == pytest.approx(scaled.mean(1).tolist(), rel=1e-12)
    assert std == pytest.approx(scaled.std(1, unbiased=False).tolist(), rel=1e-12)


def test_brightness_of_one_flat_colour_can_be_divided_by():
    mean, std = brightness(torch.full((2, 1, 3, 3), 51, dtype=torch.uint8))
    assert mean == pytest.approx((0.2,))
    assert std == (1 / 255,)
