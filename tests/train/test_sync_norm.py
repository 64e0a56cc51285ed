"""Swapping batch norms there and back; what they compute is seen on two processes in test_ranks."""

import pytest
import torch
from torch import nn

from whatwhere.errors import RunError
from whatwhere.train.ranks import Ranks
from whatwhere.train.sync_norm import SyncNorm, synchronised

CPU = torch.device("cpu")


@pytest.fixture
def exchange(monkeypatch):
    """As if another process had the very same images."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5, 2)], ids=["vectors", "maps"])
def test_two_copies_of_a_batch(exchange, shape, dtype):
    """Twice the same images: output and gradients of one copy, and the running statistics of the doubled batch."""
    torch.manual_seed(0)
    plain = nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4)
    nn.init.normal_(plain.weight)
    x = (torch.randn(shape) * 3 + 100).to(dtype)
    doubled = torch.cat([x, x]).requires_grad_()
    other = type(plain)(4)
    other.load_state_dict(plain.state_dict())
    synced = SyncNorm(other)
    mine = x.clone().requires_grad_()
    weights = torch.randn(shape)
    expected, found = plain(doubled), synced(mine)
    (expected.float() * torch.cat([weights, weights])).sum().backward()
    (found.float() * weights).sum().backward()
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected[: len(x)], **close)
    torch.testing.assert_close(mine.grad, doubled.grad[: len(x)], **close)
    torch.testing.assert_close(2 * other.weight.grad, plain.weight.grad, **close)
    torch.testing.assert_close(2 * other.bias.grad, plain.bias.grad, **close)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(other.get_buffer(name), buffer, rtol=1e-4, atol=1e-4)
    assert torch.equal(synced.eval()(x), other.eval()(x))


def test_there_and_back():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm1d(4)))
    before, names = list(model.modules()), list(model.state_dict())
    with synchronised(model, Ranks(0, 2), CPU):
        assert [type(module) for module in (model[1], model[2][0])] == [SyncNorm, SyncNorm]
        assert list(model.state_dict()) == names
        model[1].running_mean.fill_(3)
        model.eval()
    assert list(model.modules()) == before
    assert bool((model[1].running_mean == 3).all())
    assert not model[1].training
    with synchronised(model, Ranks(), CPU):
        assert list(model.modules()) == before


def test_torchs_own_on_a_gpu():
    model = nn.Sequential(nn.BatchNorm2d(4))
    with synchronised(model, Ranks(0, 2), torch.device("cuda")):
        assert type(model[0]) is nn.SyncBatchNorm


def test_a_batch_norm_of_its_own_kind():
    class WithReLU(nn.BatchNorm2d):
        pass

    model = nn.Sequential(nn.BatchNorm2d(4), WithReLU(4))
    with pytest.raises(RunError) as caught, synchronised(model, Ranks(0, 2), CPU):
        pass
    assert str(caught.value) == (
        "train(Recipe(sync_norm=True)): '1' is a WithReLU, which cannot be shared\n"
        "  fix: sync_norm=False, or a network with torch's own batch norms"
    )
    assert type(model[0]) is nn.BatchNorm2d
