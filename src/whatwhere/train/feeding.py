"""Batches for one of the processes that share a trial, from images in memory or from a stream of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from whatwhere.data import Augment, ImageSet
from whatwhere.errors import RunError
from whatwhere.train.ranks import Ranks
from whatwhere.train.recipe import Recipe
from whatwhere.train.seeds import seed_of

__all__ = ["Batch", "Feed", "check_batch", "in_order", "next_batch"]

AnyBatch = TypeVar("AnyBatch")


@dataclass(frozen=True)
class Batch:
    """This process's slice of the batch of one step, on the device.

    Args:
        images: uint8 (b, C, H, W), augmented.
        labels: int64 (b,).
        total: images of the slices of all processes.
        copied: whether each process got the whole batch, it being too small to share.
    """

    images: Tensor
    labels: Tensor
    total: int
    copied: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, count: int) -> list[tuple[Tensor, Tensor]]:
        """The slice in ``count`` micro-batches."""
        return list(zip(self.images.tensor_split(count), self.labels.tensor_split(count), strict=True))


def check_batch(recipe: Recipe, ranks: Ranks) -> None:
    """Whether a whole batch can be cut into equal micro-batches.

    Raises:
        RunError: it cannot; the sizes next to it that can are named.
    """
    pieces = ranks.world * recipe.accumulate
    size = recipe.batch_size
    if size % pieces:
        below = size // pieces * pieces
        sizes = [f"batch_size={each}" for each in (below, below + pieces) if each]
        raise RunError(
            f"train(Recipe(batch_size={size}, accumulate={recipe.accumulate})): "
            "a batch is shared evenly by the processes and their micro-batches",
            got=f"{ranks.world} x {recipe.accumulate} micro-batches",
            fix=" or ".join(sizes),
        )


class Feed:
    """The training images, batch after batch.

    What a step gets is a function of the seed, the epoch and the step: each process draws the order and the
    augmentation of the whole batch and takes its slice, so any number of processes sees the same images. A last batch
    too small to give each process two images goes whole to each; a stream, which has no whole batch anywhere, leaves
    it out.

    Args:
        part: an `ImageSet`, moved to the device, or a stream.
        recipe: for the batch and the augmentation (a stream brings its own).
        seed: of the trial.
        ranks: the processes.
        device: where batches go.
    """

    def __init__(self, part: Any, recipe: Recipe, seed: int, ranks: Ranks, device: torch.device) -> None:
        self._part, self._seed, self._ranks, self._device = part.to(device), seed, ranks, device
        self._size = recipe.batch_size
        self._augment = Augment(recipe.padding, recipe.flip)
        count, rest = len(part), len(part) % self._size
        least = 2 if isinstance(part, ImageSet) else 2 * ranks.world
        # a last batch of one image would stop a batch norm over (B, C), which has no variance to divide by
        self._used = count - rest if rest < least and count > self._size > 1 else count
        self.steps = math.ceil(self._used / self._size)

    def epoch(self, number: int, *, first_step: int) -> Iterator[Batch]:
        """The batches of an epoch (from 1), those before ``first_step`` (from 0) skipped without being made."""
        if isinstance(self._part, ImageSet):
            return self._from_memory(self._part, number, first_step)
        return self._from_stream(number, first_step)

    def _from_memory(self, part: ImageSet, epoch: int, first_step: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed_of("order", self._seed, epoch))
        order = torch.randperm(len(part), generator=generator)[: self._used].to(self._device)
        for step in range(first_step, self.steps):
            whole = order[step * self._size : (step + 1) * self._size]
            total, copied = len(whole), len(whole) < 2 * self._ranks.world
            first, last = (0, total) if copied else self._ranks.share(total)
            generator.manual_seed(seed_of("augment", self._seed, epoch, step))
            mine = whole[first:last]
            images = self._augment(part.images[mine], generator, first=first, total=total)
            yield Batch(images, part.labels[mine], total * self._ranks.world if copied else total, copied)

    def _from_stream(self, epoch: int, first_step: int) -> Iterator[Batch]:
        stream = self._part.epoch(
            seed=seed_of("stream", self._seed, epoch),
            batch_size=self._size,
            first_step=first_step,
            rank=self._ranks.rank,
            world=self._ranks.world,
        )
        for step, (images, labels) in zip(range(first_step, self.steps), stream, strict=False):
            total = min(self._size, self._used - step * self._size)
            yield Batch(images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True), total)


def next_batch(batches: Iterator[AnyBatch], name: str, place: str) -> AnyBatch:
    """The next one, which is due.

    Raises:
        RunError: there is none.
    """
    batch = next(batches, None)
    if batch is None:
        raise RunError(
            f"train: the training images of '{name}' came to an end too soon", got=f"none for {place}", fix=_GO_ON
        )
    return batch


_GO_ON = "the same call goes on from the last checkpoint"


def in_order(part: Any, size: int, ranks: Ranks, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share of all images, ``size`` at a time, as they are; together the processes see each one once.

    Args:
        part: an `ImageSet` or a stream.
        size: images a batch at most.
        ranks: the processes.
        device: where batches go.
    """
    if isinstance(part, ImageSet):
        first, last = ranks.share(len(part))
        for start in range(first, last, size):
            chosen = slice(start, min(start + size, last))
            yield part.images[chosen].to(device), part.labels[chosen].to(device)
    else:
        for images, labels in part.batches(size, rank=ranks.rank, world=ranks.world):
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
