"""Joining two branches' logits, and applying a factor."""

import pytest
import torch
from support.contract import BITS, bits, channels_last

from whatwhere.ops import apply_factor, combine_logits


@pytest.mark.parametrize(
    ("how", "wanted"),
    [("sum", [[-1.0, 5.0], [0.0, 6.0]]), ("product", [[-6.0, 6.0], [-9.0, 9.0]]), ("max", [[2.0, 3.0], [3.0, 3.0]])],
)
def test_combine(how: str, wanted: list[list[float]]) -> None:
    channel = torch.tensor([2.0, 3.0]).reshape(1, 2, 1, 1)
    spatial = torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2)
    found = combine_logits(channel, spatial, how)
    assert found.shape == (1, 2, 1, 2)
    assert found[0, :, 0].tolist() == wanted


@pytest.mark.parametrize("dtype", BITS, ids=str)
@pytest.mark.parametrize("form", [torch.Tensor.contiguous, channels_last], ids=["contiguous", "channels_last"])
def test_no_strength_no_change(dtype: torch.dtype, form) -> None:
    x = form(torch.randn(2, 3, 4, 5).to(dtype))
    x[0, 0, 0, 0], x[0, 1, 0, 0], x[0, 2, 0, 0] = -0.0, float("inf"), torch.finfo(dtype).tiny / 4
    out = apply_factor(x, 2 * torch.rand(2, 3, 4, 5).to(dtype), torch.zeros((), dtype=dtype))
    assert torch.equal(bits(out), bits(x))
    assert out.stride() == x.stride()


def test_strength_blends() -> None:
    x, factor = torch.tensor([[2.0]]), torch.tensor([[1.5]])
    for strength, wanted in ((0.0, 2.0), (0.5, 2.5), (1.0, 3.0), (2.0, 4.0)):
        assert apply_factor(x, factor, torch.tensor(strength)).item() == wanted
    assert apply_factor(x, factor, None).item() == 3.0


def test_strength_zero_has_a_gradient_for_strength_and_none_for_the_factor() -> None:
    x = torch.randn(2, 3, 4, 5)
    factor = torch.rand(2, 3, 1, 1, requires_grad=True)
    strength = torch.zeros((), requires_grad=True)
    apply_factor(x, factor, strength).sum().backward()
    torch.testing.assert_close(strength.grad, (x * (factor - 1)).sum().detach())
    assert (factor.grad == 0).all()
