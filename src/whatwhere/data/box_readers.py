"""Processes that read and change the images of a detection set, ahead of whoever trains."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from whatwhere.data.box_transforms import Augmentation
from whatwhere.data.detection import DetectionPart
from whatwhere.data.detection_parts import FilePart, read_image, targets
from whatwhere.data.pool import Pool

__all__ = ["BoxReaders", "Sample"]


class Sample(NamedTuple):
    """One image, uint8 (3, H, W), and what is to be found in it: float32 (n, 4) boxes, int64 (n,) labels from 0."""

    image: Tensor
    boxes: Tensor
    labels: Tensor


class _Place(NamedTuple):
    """What another process is told of an image; lists, for a tensor is sent as a file of shared memory."""

    path: str
    size: tuple[int, int]
    boxes: list[list[float]]
    labels: list[int]
    seed: int


class _Read(NamedTuple):
    """What it gives back of several: all pixels in one tensor, so in one such file, and the rest as lists."""

    pixels: Tensor
    sizes: list[tuple[int, int]]
    boxes: list[list[list[float]]]
    labels: list[list[int]]


class BoxReaders:
    """Read and change images in a `Pool` of processes; images in memory are changed in this one.

    Args:
        call: the call as the user wrote it, for messages.
        workers: as `Pool` takes it.
    """

    def __init__(self, call: str, workers: int | None = None) -> None:
        self._call = call
        self._pool = Pool(call, workers, (__name__, "PIL.Image", "torchvision.transforms.v2"))

    def walk(
        self, part: DetectionPart, jobs: Iterable[Sequence[tuple[int, int]]], augmentation: Augmentation
    ) -> Iterator[list[Sample]]:
        """The images of each job, in order, changed, with what is to be found in them (`targets`: no crowds).

        Args:
            part: of a detection set.
            jobs: each some (index of an image, seed of its change); what is given depends on them alone.
            augmentation: what is done to each image.

        Raises:
            DataError: an image cannot be read.
            RunError: a process was killed.
        """
        if isinstance(part, FilePart):
            work = partial(_read, self._call, augmentation)
            yield from map(_unpacked, self._pool.walk(work, (_places(part, job) for job in jobs)))
        else:
            for job in jobs:
                yield [Sample(*augmentation(part.image(i), *targets(part, i), seed)) for i, seed in job]

    def images(self, part: DetectionPart, indices: Iterable[int]) -> Iterator[Tensor]:
        """The images at ``indices``, one after the other, as they are: uint8 (3, H, W).

        Raises:
            DataError, RunError: as `walk`.
        """
        for (sample,) in self.walk(part, ([(index, 0)] for index in indices), Augmentation()):
            yield sample.image


def _places(part: FilePart, job: Sequence[tuple[int, int]]) -> list[_Place]:
    places = []
    for index, seed in job:
        boxes, labels = targets(part, index)
        rows, columns = part.sizes[index].tolist()
        places.append(_Place(part.paths[index], (rows, columns), boxes.tolist(), labels.tolist(), seed))
    return places


def _read(call: str, augmentation: Augmentation, places: list[_Place]) -> _Read:
    samples = []
    for place in places:
        image, boxes = read_image(call, place.path, place.size), torch.tensor(place.boxes).view(-1, 4)
        samples.append(augmentation(image, boxes, torch.tensor(place.labels, dtype=torch.int64), place.seed))
    return _Read(
        torch.cat([image.flatten() for image, _, _ in samples]),
        [(image.shape[1], image.shape[2]) for image, _, _ in samples],
        [boxes.tolist() for _, boxes, _ in samples],
        [labels.tolist() for _, _, labels in samples],
    )


def _unpacked(read: _Read) -> list[Sample]:
    pieces = torch.split(read.pixels, [3 * rows * columns for rows, columns in read.sizes])
    return [
        Sample(pixels.view(3, *size), torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64))
        for pixels, size, boxes, labels in zip(pieces, read.sizes, read.boxes, read.labels, strict=True)
    ]
