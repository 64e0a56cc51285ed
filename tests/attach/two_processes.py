"""What each of two processes does in the test of data parallelism; spawned processes import it."""

from pathlib import Path

import torch
import torch.distributed as dist
from support.cases import HOSTS
from torch import nn

import whatwhere as ww

__all__ = ["gate_gradients", "gated", "images", "train_one_step"]


def gated() -> nn.Module:
    """A gated host without a batch norm that looks at the batch; its gates have none either."""
    case = HOSTS["plain"]
    model = case.build().eval()
    torch.manual_seed(5)
    ww.attach_(model, "cbam:reduction=4", at="bottlenecks", **case.planning())
    return model


def images() -> torch.Tensor:
    """The whole batch."""
    return torch.randn(4, 3, 16, 24, generator=torch.Generator().manual_seed(2))


def gate_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Gradients of the gates' parameters, by name."""
    return {name: p.grad for name, p in model.named_parameters() if ".gate." in name and p.grad is not None}


def train_one_step(rank: int, folder: str) -> None:
    """One backward and one step on this process's half of the batch; gradients and weights go to ``folder``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        model = nn.parallel.DistributedDataParallel(gated())
        model(images()[2 * rank : 2 * rank + 2]).square().mean().backward()
        torch.optim.SGD(model.parameters(), 0.1).step()
        found = {"gradients": gate_gradients(model.module), "state": model.module.state_dict()}
        torch.save(found, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
