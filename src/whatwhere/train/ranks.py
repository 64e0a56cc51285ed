"""The processes that train one trial together, and the few things they have to say to one another."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from whatwhere.errors import RunError, first_line

__all__ = ["Ranks"]


class Ranks:
    """This process among ``world``, the ``rank``-th from 0; alone it costs nothing.

    Every method but the properties is called by all processes or by none.

    Args:
        device: where this process computes; tensors are exchanged there if the processes talk through NCCL only.
    """

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.world = rank, world
        self._place = torch.device("cpu")
        if world > 1 and dist.is_initialized() and "cpu:" not in dist.get_backend_config():
            self._place = torch.device(device)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def share(self, count: int) -> tuple[int, int]:
        """Start and stop of this process's part of ``count`` things; parts differ by one at most."""
        return count * self.rank // self.world, count * (self.rank + 1) // self.world

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of float64 ``values`` of one shape, on the CPU."""
        if self.world == 1:
            return values
        there = values.to(self._place)
        dist.all_reduce(there)
        return there.cpu()

    def joined(self, rows: Tensor) -> Tensor:
        """The rows of all processes below one another, the first process's on top; float64 on the CPU, exact.

        Args:
            rows: float64 (n, columns) on the CPU; n may differ from process to process and be 0.
        """
        if self.world == 1:
            return rows
        counts = torch.zeros(self.world, dtype=torch.float64)
        counts[self.rank] = len(rows)
        ends = self.sum(counts).long().cumsum(0).tolist()
        whole = torch.zeros(ends[-1], rows.shape[1], dtype=torch.float64)
        whole[ends[self.rank] - len(rows) : ends[self.rank]] = rows
        return self.sum(whole)

    def any(self, flag: bool) -> bool:
        """Whether some process says so."""
        return bool(self.sum(torch.tensor([float(flag)], dtype=torch.float64))[0] > 0) if self.world > 1 else flag

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the first one's values, in place."""
        if self.world > 1:
            for tensor in tensors:
                there = tensor.detach().to(self._place)
                dist.broadcast(there, 0)
                tensor.detach().copy_(there)

    def alone(self, task: Callable[[], None]) -> None:
        """Has the first process do ``task`` while the others wait; its `RunError` is raised in all of them."""
        error: RunError | None = None
        if self.first:
            try:
                task()
            except RunError as caught:
                error = caught
        words = self._heard("" if error is None else json.dumps([error.rule, error.got, error.closest, error.fix]))
        if error is not None:
            raise error
        if words:
            rule, got, near, fix = json.loads(words)
            raise RunError(rule, got=got, closest=near, fix=fix)

    def _heard(self, text: str) -> str:
        if self.world == 1:
            return ""
        data = text.encode()
        length = torch.tensor([len(data)], device=self._place)
        dist.broadcast(length, 0)
        size = int(length)
        if size == 0:
            return ""
        letters = torch.tensor(list(data) if self.first else [0] * size, dtype=torch.uint8, device=self._place)
        dist.broadcast(letters, 0)
        return bytes(letters.tolist()).decode()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Turns the loss of another process inside the block into a `RunError`."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or isinstance(error, RunError) or not _is_loss(error):
                raise
            raise RunError(
                f"train: another process of this trial has ended; {self.world} trained it together",
                got=f"process {self.rank}: {first_line(error)}",
                fix="what that one said last tells why; the same call goes on from the last checkpoint",
            ) from error


_SIGNS = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe")


def _is_loss(error: RuntimeError) -> bool:
    kinds: Any = getattr(dist, "DistError", ())
    return isinstance(error, kinds) or any(sign in str(error).lower() for sign in _SIGNS)
