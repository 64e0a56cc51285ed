"""The pooling functions: values, ties, precision, layouts, gradients."""

import numpy as np
import pytest
import torch
from support import oracles
from support.contract import channels_last

from whatwhere.ops import pool_channels, pool_positions

POOLS = ("avg", "max", "lp", "lse")
layouts = pytest.mark.parametrize(
    "layout", [torch.Tensor.contiguous, channels_last], ids=["contiguous", "channels_last"]
)
halves = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])


@pytest.mark.parametrize("size", [(7,), (1,), (4, 6), (5, 1), (1, 1), (2, 3, 4)], ids=str)
def test_positions(size: tuple[int, ...]) -> None:
    x = torch.randn(3, 5, *size, dtype=torch.float64)
    found = pool_positions(x, POOLS)
    assert found.shape == (4, 3, 5)
    for row, pool in zip(found, POOLS, strict=True):
        np.testing.assert_allclose(row, oracles.pool_positions(x.numpy(), pool), rtol=1e-12, err_msg=pool)


@pytest.mark.parametrize("pools", [("avg", "max"), ("max", "avg"), ("max",), ("avg",)], ids="-".join)
@pytest.mark.parametrize("size", [(7,), (4, 6), (1, 1), (2, 3, 4)], ids=str)
def test_channels(size: tuple[int, ...], pools: tuple[str, ...]) -> None:
    x = torch.randn(3, 5, *size, dtype=torch.float64)
    found = pool_channels(x, pools)
    assert found.shape == (3, len(pools), *size)
    np.testing.assert_allclose(found, oracles.pool_channels(x.numpy(), pools), rtol=1e-12)


@layouts
def test_the_first_of_equal_positions_takes_the_gradient(layout) -> None:
    x = torch.zeros(2, 3, 4, 5)
    x[:, :, 1, 3] = x[:, :, 2, 0] = x[:, :, 3, 4] = 7
    x[1, 2] = 7  # one map equal everywhere
    x = layout(x).requires_grad_()
    pool_positions(x, ("max",)).sum().backward()
    wanted = torch.zeros(2, 3, 4, 5)
    wanted[:, :, 1, 3] = 1
    wanted[1, 2] = 0
    wanted[1, 2, 0, 0] = 1
    assert torch.equal(x.grad, wanted)


@layouts
def test_the_first_of_equal_channels_takes_the_gradient(layout) -> None:
    x = torch.zeros(2, 6, 3, 4)
    x[:, 2] = x[:, 4] = x[:, 5] = 1
    x[:, :, 0, 0] = -3  # one position equal in all channels
    x = layout(x).requires_grad_()
    pool_channels(x, ("max",)).sum().backward()
    wanted = torch.zeros(2, 6, 3, 4)
    wanted[:, 2] = 1
    wanted[:, :, 0, 0] = 0
    wanted[:, 0, 0, 0] = 1
    assert torch.equal(x.grad, wanted)


@halves
def test_long_sums_over_positions_neither_overflow_nor_stall(dtype: torch.dtype) -> None:
    """Added up in half precision, a million fours are infinite in float16 and stall at 1024 in bfloat16."""
    x = torch.full((1, 2, 1024, 1024), 4.0, dtype=dtype)
    avg, lp = pool_positions(x, ("avg", "lp"))
    assert avg.dtype == dtype
    assert (avg == 4).all()
    assert (lp == 4096).all()
    lse = pool_positions(x, ("lse",)).double()
    assert (lse - (4 + 20 * np.log(2))).abs().max() < 4 * torch.finfo(dtype).eps * 16


@halves
def test_long_sums_over_channels_neither_overflow_nor_stall(dtype: torch.dtype) -> None:
    x = torch.full((1, 65536, 2, 2), 4.0, dtype=dtype)
    found = pool_channels(x, ("avg", "max"))
    assert found.dtype == dtype
    assert (found == 4).all()


@halves
def test_half_precision_means_are_rounded_once(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 61, 67).to(dtype)
    wanted = x.double().mean((2, 3)).to(dtype)
    torch.testing.assert_close(pool_positions(x, ("avg",))[0], wanted, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


def test_log_sum_exp_of_large_values_is_finite() -> None:
    x = torch.tensor([1e4, -1e4, 1e4, 0.0]).reshape(1, 1, 2, 2)
    assert pool_positions(x, ("lse",)).item() == pytest.approx(1e4 + np.log(2))


def test_the_norm_of_a_zero_channel_has_a_gradient_of_zero() -> None:
    x = torch.zeros(1, 2, 3, 3, requires_grad=True)
    pool_positions(x, ("lp",)).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("pool", POOLS)
def test_position_gradients(pool: str) -> None:
    x = torch.randn(2, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool_positions(x, (pool,)), x)


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_channel_gradients(pool: str) -> None:
    x = torch.randn(2, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool_channels(x, (pool,)), x)
