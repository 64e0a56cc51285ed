"""Processes that read and decode the images of a stream, ahead of whoever trains."""

import multiprocessing
import os
import random
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import groupby
from multiprocessing.connection import wait
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from whatwhere.data.crop import middle, random_crop
from whatwhere.data.decode import readable
from whatwhere.errors import DataError, RunError

__all__ = ["Job", "Place", "Readers"]

_AHEAD = 2
"""Batches that each process has in hand or in wait."""
_SEEDS = 1 << 40
"""More positions than an epoch has."""


class Place(NamedTuple):
    """Where an encoded image lies: a file, the first byte and how many; -1 for all that follow."""

    path: str
    start: int = 0
    size: int = -1

    def words(self) -> str:
        """For messages: the file, and where in it if not all of it."""
        return self.path if self.size < 0 else f"{self.path}, {self.size:,} bytes from {self.start:,}"

    def remedy(self) -> str:
        """What to do where there is no image."""
        return "replace or delete the file" if self.size < 0 else "copy the shard again, or write it from whole images"


@dataclass(frozen=True)
class Job:
    """One batch to read.

    Args:
        places: of the images, in order.
        seed: of the epoch's crops; None for the middle of each image.
        first: place of the first image in the order of the whole epoch; with the seed it decides each crop.
    """

    places: list[Place]
    seed: int | None = None
    first: int = 0


class Readers:
    """Decode batches in other processes, a few ahead; they start at the first batch and stay until this is let go of.

    Started by a fork server (spawned where there is none): a fork of a process with threads or a GPU is not safe. A
    pool of `concurrent.futures` and not a `DataLoader`, because it tells at once when one of its processes is killed,
    draws no random numbers, and lets two walks go on at the same time.

    Args:
        call: the call as the user wrote it, for messages.
        image_size: rows and columns of what is read.
        workers: processes; 0 reads in this one; None takes one fewer than this process may use CPUs, shared among the
            processes that ``torchrun`` started on this machine, and at least one.
    """

    def __init__(self, call: str, image_size: int, workers: int | None = None) -> None:
        self.call, self.image_size = call, image_size
        self.workers = _usual() if workers is None else workers
        self._pool: ProcessPoolExecutor | None = None
        self._pinner: ThreadPoolExecutor | None = None

    def walk(self, jobs: Iterable[Job], *, pinned: bool = False) -> Iterator[Tensor]:
        """What `read` gives for each job, in order; in page-locked memory if ``pinned``.

        Raises:
            DataError: as `read` does.
            RunError: a process was killed.
        """
        if self.workers == 0:
            yield from (_pin(self.read(job)) if pinned else self.read(job) for job in jobs)
            return
        waiting: deque[Future[Tensor]] = deque()
        try:
            for job in jobs:
                waiting.append(self._submit(job, pinned))
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

    def read(self, job: Job) -> Tensor:
        """The images of a job, uint8 (B, 3, image_size, image_size), read in this process.

        Raises:
            DataError: a file is closed, gone or shorter than it should be, or there is no image in it.
        """
        return _read(self.call, self.image_size, job)

    def _submit(self, job: Job, pinned: bool) -> Future[Tensor]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, mp_context=_context(), initializer=_begin)
        future = self._pool.submit(_read, self.call, self.image_size, job)
        if not pinned:
            return future
        if self._pinner is None:
            self._pinner = ThreadPoolExecutor(1)
        return self._pinner.submit(lambda: _pin(future.result()))


def _read(call: str, image_size: int, job: Job) -> Tensor:
    """File by file, in the order of the bytes."""
    images = torch.empty(len(job.places), 3, image_size, image_size, dtype=torch.uint8)
    order = sorted(range(len(job.places)), key=job.places.__getitem__)
    for path, of_file in groupby(order, key=lambda i: job.places[i].path):
        try:
            with open(path, "rb") as file:
                encoded = [(i, _bytes(call, file, job.places[i])) for i in of_file]
        except OSError as error:
            raise DataError(
                f"{call}: '{path}' cannot be read",
                got=error.strerror or str(error),
                fix="put it back where it was when the set was loaded, or load the set again",
            ) from None
        for i, data in encoded:
            place = job.places[i]
            with readable(call, place.words(), place.remedy()):
                if job.seed is None:
                    images[i] = middle(data, image_size)
                else:
                    images[i] = random_crop(data, image_size, random.Random(job.seed * _SEEDS + job.first + i))
    return images


def _bytes(call: str, file: BinaryIO, place: Place) -> bytes:
    file.seek(place.start)
    data = file.read(place.size)
    if len(data) < place.size:
        raise DataError(
            f"{call}: a shard ends before its index says",
            got=f"{place.path}: {os.path.getsize(place.path):,} bytes, an image ends at {place.start + place.size:,}",
            fix="copy or write the shard again",
        )
    return data


def _pin(images: Tensor) -> Tensor:
    return images.pin_memory()


def _usual() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cpus // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) - 1)


def _context() -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "PIL.Image"])  # imported once, shared by all
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
