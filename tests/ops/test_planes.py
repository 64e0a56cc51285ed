"""Seeing a map as planes, and back: always a view where there is one, and never a guess where there is none."""

import pytest
import torch
from support.contract import channels_last
from torch import Tensor

from whatwhere.ops.planes import planes

SIZES = ((7,), (4, 5), (2, 3, 4))


def last(x: Tensor) -> Tensor:
    """Channels last for any number of spatial dimensions."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def same_memory(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_contiguous(size: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *size)
    seen = planes(x)
    assert seen is not None
    rows = seen.of(x)
    assert (seen.channels_last, seen.positions, seen.channels) == (False, 2, 1)
    assert rows.shape == (2, 3, x[0, 0].numel())
    assert rows.is_contiguous()
    assert same_memory(rows, x)
    assert torch.equal(rows, x.reshape(2, 3, -1))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_channels_last(size: tuple[int, ...]) -> None:
    x = last(torch.randn(2, 3, *size))
    seen = planes(x)
    assert seen is not None
    rows = seen.of(x)
    assert (seen.channels_last, seen.positions, seen.channels) == (True, 1, 2)
    assert rows.shape == (2, x[0, 0].numel(), 3)
    assert rows.is_contiguous()
    assert same_memory(rows, x)
    assert torch.equal(rows, x.reshape(2, 3, -1).transpose(1, 2))


def test_torch_s_own_memory_formats() -> None:
    for size in SIZES[1:]:
        x = channels_last(torch.randn(2, 3, *size))
        seen = planes(x)
        assert seen is not None
        assert seen.channels_last


@pytest.mark.parametrize("form", [torch.Tensor.contiguous, last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(
    "shape", [(2, 3, *size) for size in SIZES] + [(0, 3, 4, 5), (1, 3, 4, 1), (1, 1, 1, 1)], ids=str
)
def test_back_is_the_inverse_and_a_view(shape: tuple[int, ...], form) -> None:
    x = form(torch.randn(shape))
    seen = planes(x)
    assert seen is not None
    again = seen.back(seen.of(x))
    assert again.shape == x.shape
    assert again.stride() == x.stride() or x.numel() < 2 or 1 in shape or 0 in shape
    assert same_memory(again, x)
    assert torch.equal(again, x)


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (2, 3, 1, 1), (2, 1, 1, 1), (1, 1, 7), (2, 3, 1)], ids=str)
def test_maps_that_are_both(shape: tuple[int, ...]) -> None:
    """One channel or one position: the layouts are one, and either view is right."""
    for x in (torch.randn(shape), last(torch.randn(shape))):
        seen = planes(x)
        assert seen is not None
        rows = seen.of(x)
        assert same_memory(rows, x)
        for dim, pooled in ((seen.positions, x.flatten(2).mean(2)), (seen.channels, x.flatten(2).mean(1))):
            torch.testing.assert_close(rows.mean(dim), pooled)


def test_a_batch_of_a_larger_tensor() -> None:
    for form in (torch.Tensor.contiguous, last):
        whole = form(torch.randn(6, 3, 4, 5))
        x = whole[2:5]
        seen = planes(x)
        assert seen is not None
        assert same_memory(seen.of(x), x)
        assert torch.equal(seen.back(seen.of(x)), x)


@pytest.mark.parametrize(
    "strided",
    [
        lambda x: x[:, :2],
        lambda x: x[:, :, 1:],
        lambda x: x[..., ::2],
        lambda x: x.transpose(2, 3),
        lambda x: x[:, :, :1].expand(2, 3, 4, 5),
        lambda x: x[:1].expand(2, 3, 4, 5),
        lambda x: last(x)[:, :2],
        lambda x: last(x)[..., :4],
    ],
    ids=["channels", "rows", "steps", "transposed", "expanded", "expanded-batch", "last-channels", "last-columns"],
)
def test_maps_no_view_can_turn(strided) -> None:
    assert planes(strided(torch.randn(2, 3, 4, 5))) is None


@pytest.mark.parametrize("form", [torch.Tensor.contiguous, last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("other", [torch.Tensor.contiguous, last, lambda x: x[:1, :1, :1, :1].expand(2, 3, 4, 5)])
def test_another_tensor_is_brought_into_the_layout(form, other) -> None:
    """A gradient comes in whatever layout it likes; expanded (from a sum), it becomes dense."""
    seen = planes(form(torch.randn(2, 3, 4, 5)))
    assert seen is not None
    gradient = other(torch.randn(2, 3, 4, 5))
    rows = seen.of(gradient)
    assert rows.is_contiguous()
    assert torch.equal(seen.back(rows), gradient)
