"""Images that do not fit into memory, read and decoded while somebody trains."""

import copy
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, Self

import torch
from torch import Tensor

from whatwhere.data.decode import THREADS
from whatwhere.data.readers import Job, Place, Readers
from whatwhere.data.split import brightness
from whatwhere.errors import DataError

__all__ = ["Source", "Stream"]

_MEASURED = 1_000
_CHUNK = 25


class Source(Protocol):
    """Labelled encoded images, and where each lies."""

    @property
    def labels(self) -> Tensor:
        """int64 (N,)."""

    def places(self, indices: Tensor) -> list[Place]:
        """Where the images at ``indices``, int64 (M,), lie."""

    def order(self, generator: torch.Generator) -> Tensor:
        """A random permutation, int64 (N,), that suits the way the images lie."""


class Stream:
    """One part of a data set, of which only the batches at hand are in memory.

    All chance is a function of the epoch's seed and of an image's place in the epoch's order, so the batches are the
    same whatever the number of processes, of readers and the step that is started with.

    Args:
        source: the encoded images.
        readers: the processes that decode them; the parts of one set share them.
        device: where batches go.
    """

    def __init__(self, source: Source, readers: Readers, device: torch.device | str = "cpu") -> None:
        self._source, self._readers, self._device = source, readers, torch.device(device)

    def __len__(self) -> int:
        return len(self._source.labels)

    @property
    def labels(self) -> Tensor:
        """int64 (N,), on the CPU, in the order of `batches`."""
        return self._source.labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of every image, as it is given out."""
        return 3, self._readers.image_size, self._readers.image_size

    def to(self, device: torch.device | str) -> Self:
        """The same stream, its batches on ``device``; through page-locked memory to a GPU."""
        moved = copy.copy(self)
        moved._device = torch.device(device)
        return moved

    def epoch(
        self, *, seed: int, batch_size: int, first_step: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Random crops, half of them mirrored, uint8 (b, 3, H, W), and their labels, int64 (b,), of one epoch.

        Each image is in one batch; a last batch of a single image is left out. Of every batch this process gets its
        part, from ``batch * rank // world`` to ``batch * (rank + 1) // world``.

        Args:
            seed: of the order and the crops.
            batch_size: images a batch, of all processes together; the last one may be shorter.
            first_step: the batch to begin with, from 0; those before it are not read.
            rank: of this process, from 0.
            world: the number of processes.

        Raises:
            DataError: at the call: an argument out of range; later: an image cannot be read.
            RunError: later: a process that reads was killed.
        """
        _check(f"epoch(batch_size={batch_size}, first_step={first_step}", batch_size, rank, world, first_step)
        count = len(self)
        used = count - 1 if count > batch_size > 1 and count % batch_size == 1 else count
        order = self._source.order(torch.Generator().manual_seed(seed))[:used]
        bounds = []
        for step in range(first_step, math.ceil(used / batch_size)):
            start = step * batch_size
            size = min(batch_size, used - start)
            bounds.append((start + size * rank // world, start + size * (rank + 1) // world))
        return self._walk(order, bounds, seed)

    def batches(self, size: int, *, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """The middle of each image, in order, uint8 (b, 3, H, W), and the labels, int64 (b,).

        Processes have an equal stretch each, the first image of ``rank`` being ``len * rank // world``.

        Args:
            size: images a batch, of this process; the last one may be shorter.
            rank: of this process, from 0.
            world: the number of processes.

        Raises:
            DataError: at the call: an argument out of range; later: an image cannot be read.
            RunError: later: a process that reads was killed.
        """
        _check(f"batches(size={size}", size, rank, world)
        first, last = len(self) * rank // world, len(self) * (rank + 1) // world
        bounds = [(start, min(start + size, last)) for start in range(first, last, size)]
        return self._walk(torch.arange(len(self)), bounds, None)

    def brightness(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, with 255 as 1, over up to 1,000 images at equal distances.

        Read as `batches` shows them, by threads of this process; two seconds of one CPU at ImageNet's sizes.

        Raises:
            DataError: an image cannot be read.
        """
        number = min(len(self), _MEASURED)
        picked = torch.arange(number) * len(self) // number
        jobs = [Job(self._source.places(some)) for some in torch.split(picked, _CHUNK)]
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            return brightness(torch.cat(list(pool.map(self._readers.read, jobs))))

    def _walk(self, order: Tensor, bounds: list[tuple[int, int]], seed: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        pinned = self._device.type == "cuda"
        jobs = (Job(self._source.places(order[first:last]), seed, first) for first, last in bounds)
        for (first, last), images in zip(bounds, self._readers.walk(jobs, pinned=pinned), strict=True):
            labels = self._source.labels[order[first:last]]
            yield images.to(self._device, non_blocking=pinned), labels.to(self._device)


def _check(call: str, size: int, rank: int, world: int, first_step: int = 0) -> None:
    if size < 1 or first_step < 0 or not 0 <= rank < world:
        raise DataError(
            f"{call}, rank={rank}, world={world}): a batch has at least one image, steps count from 0, "
            "and a rank lies in [0, world)"
        )
