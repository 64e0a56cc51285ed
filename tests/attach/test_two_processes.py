"""Gates train under DistributedDataParallel as on one process."""

import torch
import torch.multiprocessing
from two_processes import gate_gradients, gated, images, train_one_step


def test_gradients_agree_between_ranks_and_with_one_process(tmp_path):
    torch.multiprocessing.spawn(train_one_step, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    alone = gated()
    alone(images()).square().mean().backward()
    expected = gate_gradients(alone)
    torch.optim.SGD(alone.parameters(), 0.1).step()
    assert len(expected) == len([name for name, _ in alone.named_parameters() if ".gate." in name])
    assert sum(bool(gradient.any()) for gradient in expected.values()) > len(expected) // 2
    for name, gradient in expected.items():
        assert torch.equal(first["gradients"][name], second["gradients"][name])
        torch.testing.assert_close(first["gradients"][name], gradient, rtol=1e-5, atol=1e-5)
    assert list(first["state"]) == list(alone.state_dict())
    torch.testing.assert_close(first["state"], alone.state_dict(), rtol=1e-5, atol=1e-5)
