"""Batches of images and boxes for one of the processes that share a trial."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from whatwhere.data.box_readers import BoxReaders, Sample
from whatwhere.data.box_transforms import Augmentation
from whatwhere.data.detection import DetectionPart
from whatwhere.data.grouping import grouped_order
from whatwhere.train.ranks import Ranks
from whatwhere.train.seeds import seed_of

__all__ = ["BoxBatch", "BoxFeed"]


@dataclass(frozen=True)
class BoxBatch:
    """This process's slice of the batch of one step.

    Args:
        samples: images, uint8 (3, H, W), changed, with boxes and labels, on the CPU.
        total: images of the slices of all processes.
        copied: whether each process got the whole batch, it being too small to share.
    """

    samples: Sequence[Sample]
    total: int
    copied: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def parts(self, count: int) -> list[tuple[list[Sample], list[Sample]]]:
        """The slice in ``count`` micro-batches, each as images and what is in them: here one and the same."""
        ends = [len(self.samples) * i // count for i in range(count + 1)]
        pieces = [list(self.samples[start:stop]) for start, stop in pairwise(ends)]
        return [(piece, piece) for piece in pieces]


class BoxFeed:
    """The training images, batch after batch; each process reads its slice of the whole batch and no more.

    What a step gets is a function of the seed, the epoch and the step, so any number of processes sees the same images.
    Upright images and others come in batches of their own, unless the detector wants squares. A last batch that has not
    two images for each process goes whole to each, and one of a single image, too few for a batch norm, is left out.

    Args:
        part: the training images.
        augmentation: what is done to each.
        batch_size: images of one step, over all processes.
        seed: of the trial.
        ranks: the processes.
        readers: that read and change images ahead.
    """

    def __init__(
        self,
        part: DetectionPart,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        ranks: Ranks,
        readers: BoxReaders,
    ) -> None:
        self._part, self._augmentation, self._size = part, augmentation, batch_size
        self._seed, self._ranks, self._readers = seed, ranks, readers
        alone = len(part) > batch_size > 1 and len(part) % batch_size == 1
        self._used = len(part) - 1 if alone else len(part)
        self.steps = math.ceil(self._used / batch_size)

    def epoch(self, number: int, *, first_step: int) -> Iterator[BoxBatch]:
        """The batches of an epoch (from 1), those before ``first_step`` (from 0) skipped without being read."""
        generator = torch.Generator().manual_seed(seed_of("order", self._seed, number))
        sizes = self._part.sizes
        if self._augmentation.image_size is not None:
            sizes = torch.ones_like(sizes)  # all come to one shape
        order = grouped_order(sizes, generator, self._size)[: self._used].tolist()
        wholes = [order[step * self._size : (step + 1) * self._size] for step in range(first_step, self.steps)]
        jobs = (self._job(whole, number, step) for step, whole in enumerate(wholes, first_step))
        samples = self._readers.walk(self._part, jobs, self._augmentation)
        for whole, mine in zip(wholes, samples, strict=True):
            copied = self._copied(whole)
            yield BoxBatch(mine, len(whole) * self._ranks.world if copied else len(whole), copied)

    def _copied(self, whole: Sequence[int]) -> bool:
        return len(whole) < min(self._size, 2 * self._ranks.world)

    def _job(self, whole: Sequence[int], epoch: int, step: int) -> list[tuple[int, int]]:
        first, last = (0, len(whole)) if self._copied(whole) else self._ranks.share(len(whole))
        return [(whole[i], seed_of("augment", self._seed, epoch, step, i)) for i in range(first, last)]
