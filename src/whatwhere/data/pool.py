"""Processes that read ahead of whoever trains."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

import torch

from whatwhere.errors import RunError

__all__ = ["Pool"]

_AHEAD = 2
"""Jobs that each process has in hand or in wait."""

Job = TypeVar("Job")
Done = TypeVar("Done")


class Pool:
    """Does jobs in other processes, a few ahead; they start at the first job and stay until this is let go of.

    Started by a fork server (spawned where there is none): a fork of a process with threads or a GPU is not safe. A
    pool of `concurrent.futures` and not a `DataLoader`, because it tells at once when one of its processes is killed,
    draws no random numbers, and lets two walks go on at the same time.

    Args:
        call: the call as the user wrote it, for messages.
        workers: processes; 0 works in this one; None takes one fewer than this process may use CPUs, shared among the
            processes that ``torchrun`` started on this machine, and at least one.
        preload: modules that the fork server imports once, for all processes to share.
    """

    def __init__(self, call: str, workers: int | None, preload: Iterable[str]) -> None:
        self.call, self.workers = call, _usual() if workers is None else workers
        self._preload = list(preload)
        self._pool: ProcessPoolExecutor | None = None
        self._after: ThreadPoolExecutor | None = None

    def walk(
        self, work: Callable[[Job], Done], jobs: Iterable[Job], then: Callable[[Done], Done] | None = None
    ) -> Iterator[Done]:
        """What ``work`` gives for each job, in order.

        Args:
            work: of a module, so that it can be sent to a process, as can be what it takes and gives.
            jobs: taken one by one, a few ahead.
            then: done to each result by a thread of this process.

        Raises:
            RunError: a process was killed.
        """
        if self.workers == 0:
            for job in jobs:
                done = work(job)
                yield done if then is None else then(done)
            return
        waiting: deque[Future[Done]] = deque()
        try:
            for job in jobs:
                waiting.append(self._submit(work, job, then))
                if len(waiting) > _AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            self._pool = None
            raise RunError(
                f"{self.call}: a process that reads images was ended from outside, or could not start",
                got=f"{self.workers} such processes; the system ends one when memory or /dev/shm is full",
                fix="fewer processes (workers=) or a smaller batch; your own script needs `if __name__ == '__main__':`",
            ) from error

    def _submit(self, work: Callable[[Job], Done], job: Job, then: Callable[[Done], Done] | None) -> Future[Done]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, mp_context=_context(self._preload), initializer=_begin)
        future = self._pool.submit(work, job)
        if then is None:
            return future
        if self._after is None:
            self._after = ThreadPoolExecutor(1)
        return self._after.submit(lambda: then(future.result()))


def _usual() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cpus // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) - 1)


def _context(preload: list[str]) -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    return context


def _begin() -> None:
    """In each process: one thread, deaf to what is meant for the trainer, gone when the trainer is."""
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
