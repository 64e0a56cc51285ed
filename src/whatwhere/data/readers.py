"""Processes that read and decode the images of a stream, ahead of whoever trains."""

import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from whatwhere.data.crop import middle, random_crop
from whatwhere.data.decode import readable
from whatwhere.data.pool import Pool
from whatwhere.errors import DataError

__all__ = ["Job", "Place", "Readers"]

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
    """Decode batches in a `Pool` of processes.

    Args:
        call: the call as the user wrote it, for messages.
        image_size: rows and columns of what is read.
        workers: as `Pool` takes it.
    """

    def __init__(self, call: str, image_size: int, workers: int | None = None) -> None:
        self.call, self.image_size = call, image_size
        self._pool = Pool(call, workers, (__name__, "PIL.Image"))

    @property
    def workers(self) -> int:
        """How many processes; 0 for none but this one."""
        return self._pool.workers

    def walk(self, jobs: Iterable[Job], *, pinned: bool = False) -> Iterator[Tensor]:
        """What `read` gives for each job, in order; in page-locked memory if ``pinned``.

        Raises:
            DataError: as `read` does.
            RunError: a process was killed.
        """
        return self._pool.walk(partial(_read, self.call, self.image_size), jobs, _pin if pinned else None)

    def read(self, job: Job) -> Tensor:
        """The images of a job, uint8 (B, 3, image_size, image_size), read in this process.

        Raises:
            DataError: a file is closed, gone or shorter than it should be, or there is no image in it.
        """
        return _read(self.call, self.image_size, job)


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
