"""The processes that run the same trials together, and how they agree on what became of one."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from whatwhere.errors import RunError
from whatwhere.train.engine import meet
from whatwhere.train.launch import processes
from whatwhere.train.ranks import Ranks

__all__ = ["Alone", "Failure", "Team"]

Failure = tuple[str, str, tuple[str, ...], str]  # rule, got, closest and fix of an error, without the error itself

# How long a process waits for the others' word on a trial. They end it together, so whoever is late is stuck in it.
_PATIENCE = timedelta(seconds=30)


class Alone(RunError):
    """A failure of this process that the others cannot know of: they wait for something that will never come."""


class Team(Ranks):
    """`Ranks` that train and decide together: the first has the folder, and the others do as it says.

    Where the environment says that there are several processes (``WORLD_SIZE``), they meet here. All methods are called
    by all of them.
    """

    def __init__(self) -> None:
        if processes() == 1:
            super().__init__()
            return
        meet()
        super().__init__(dist.get_rank(), dist.get_world_size())
        self.any(False)  # all are here: none has to wait for another's data below
        # apart from the group that trains, in which the others may still be waiting when one fails
        self._group: Any = dist.new_group(backend="gloo", timeout=_PATIENCE)

    def told(self, decide: Callable[[], int]) -> int:
        """What the first process decides; a `RunError` of its is raised in all."""
        decided = torch.zeros(1, dtype=torch.int64)

        def ask() -> None:
            decided[0] = decide()

        self.alone(ask)
        self.spread([decided])
        return int(decided)

    def agree(self, failure: Failure | None) -> None:
        """Has the failure of one process be the failure of all.

        Args:
            failure: of the trial, in this process; None if it went well here.

        Raises:
            RunError: it failed somewhere; the words are those of the first process that it failed in.
            Alone: it failed here, and the others do not answer. All but the first process print it, too: whoever
                listens to the first one would not hear of it.
            RuntimeError: it went well here, and the others do not answer.
        """
        try:
            heard = self._first_of(failure)
        except RuntimeError as error:
            if failure is None:
                raise
            alone = Alone(failure[0], got=failure[1], closest=failure[2], fix=failure[3])
            if not self.first:
                print(f"process {self.rank} of {self.world}, alone: {alone}", file=sys.stderr, flush=True)
            raise alone from error
        if heard is not None:
            raise RunError(heard[0], got=heard[1], closest=heard[2], fix=heard[3])

    def _first_of(self, failure: Failure | None) -> Failure | None:
        if self.world == 1:
            return failure
        first = torch.tensor([self.world if failure is None else self.rank])
        dist.all_reduce(first, dist.ReduceOp.MIN, group=self._group)
        teller = int(first)
        if teller == self.world:
            return None
        data = json.dumps(failure).encode() if teller == self.rank else b""
        length = torch.tensor([len(data)])
        dist.broadcast(length, teller, group=self._group)
        letters = torch.tensor(list(data) or [0] * int(length), dtype=torch.uint8)
        dist.broadcast(letters, teller, group=self._group)
        rule, got, near, fix = json.loads(bytes(letters.tolist()))
        return rule, f"{got} (in process {teller})".strip() if teller else got, tuple(near), fix
