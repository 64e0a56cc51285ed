import pytest
import torch

from whatwhere.data import ImageSet, batches, normalise
from whatwhere.data.feed import Normaliser
from whatwhere.errors import DataError

SET = ImageSet(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 2, 3).contiguous(), torch.arange(10))


@pytest.mark.parametrize("order", [None, torch.arange(9, -1, -1)], ids=["in-order", "reversed"])
def test_batches_follow_the_order(order):
    found = list(batches(SET, 4, order=order))
    assert [len(labels) for _, labels in found] == [4, 4, 2]
    labels = torch.cat([labels for _, labels in found])
    assert torch.equal(labels, torch.arange(10) if order is None else order)
    assert torch.equal(torch.cat([images for images, _ in found])[:, 0, 0, 0].long(), labels)


def test_a_set_of_whole_batches_ends_with_one():
    assert [len(labels) for _, labels in batches(SET, 5)] == [5, 5]


def test_batches_in_the_sets_order_are_views():
    images, _ = next(batches(SET, 4))
    assert images.data_ptr() == SET.images.data_ptr()


def test_an_empty_set_has_no_batches():
    assert list(batches(SET.take(torch.tensor([], dtype=torch.int64)), 4)) == []


@pytest.mark.parametrize(
    ("size", "order", "text"),
    [
        (0, None, "batches(size=0): a batch has at least one image"),
        (1, torch.arange(3.0), "batches(order=...): order is int64 (M,)\n  got: float32 (3,)"),
        (1, torch.tensor([[1]]), "batches(order=...): order is int64 (M,)\n  got: int64 (1, 1)"),
        (
            1,
            torch.tensor([3, 10]),
            "batches(order=...): order points outside the set\n  got: indices 3 to 10 for 10 images",
        ),
        (
            1,
            torch.tensor([-1, 2]),
            "batches(order=...): order points outside the set\n  got: indices -1 to 2 for 10 images",
        ),
    ],
    ids=["size", "dtype", "axes", "high", "negative"],
)
def test_wrong_arguments_are_refused_at_the_call(size, order, text):
    with pytest.raises(DataError) as caught:
        batches(SET, size, order=order)
    assert str(caught.value) == text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_normalise_is_the_formula(dtype):
    images = torch.randint(0, 256, (5, 2, 3, 4), dtype=torch.uint8)
    result = normalise(images, (0.5, 0.25), (0.2, 0.4), dtype)
    mean, std = (torch.tensor(pair, dtype=torch.float64).view(1, 2, 1, 1) for pair in ((0.5, 0.25), (0.2, 0.4)))
    assert result.dtype == dtype
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    torch.testing.assert_close(result.double(), (images.double() / 255 - mean) / std, rtol=0, atol=tolerance)


def test_normalise_keeps_the_memory_format():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert normalise(images, (0.0,) * 3, (1.0,) * 3).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5,)), ((0.5, 0.5), (0.5, 0.0))], ids=["channels", "zero"])
def test_normalise_refuses_means_that_do_not_fit(mean, std):
    with pytest.raises(DataError) as caught:
        normalise(torch.zeros(1, 2, 1, 1, dtype=torch.uint8), mean, std)
    assert str(caught.value) == (
        f"normalise(images): images of 2 channels need 2 means and 2 positive stds\n  got: mean {mean}, std {std}"
    )


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5)), ((0.5,), (0.0,))], ids=["channels", "zero"])
def test_a_normaliser_that_cannot_be(mean, std):
    with pytest.raises(DataError) as caught:
        Normaliser(mean, std)
    assert str(caught.value) == (
        f"Normaliser(mean, std): one mean and one positive std for each channel\n  got: mean {mean}, std {std}"
    )
