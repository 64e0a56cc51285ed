"""The parts of a detection set: image files that are read when asked for, or pictures in memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from whatwhere.data.decode import need_pillow, readable, rgb
from whatwhere.data.detection import DetectionPart, Objects
from whatwhere.data.packed import Packed
from whatwhere.errors import DataError

__all__ = ["FilePart", "MemoryPart", "find_files", "read_image", "targets"]


@dataclass(frozen=True, eq=False)
class FilePart:
    """Images in files, as `DetectionPart` says.

    Attributes:
        call: the call as the user wrote it, for messages.
        ids: the name of each image as its publishers give it.
        paths: of the files.
        sizes: int64 (M, 2), rows and columns as annotated.
        known: the objects.
        notes: what was left out of the annotations or cut, in words, for people to see.
    """

    call: str
    ids: Sequence[int | str]
    paths: Sequence[str]
    sizes: Tensor
    known: Packed
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def objects(self, index: int) -> Objects:
        """What is in an image."""
        return self.known.of(index)

    def image(self, index: int) -> Tensor:
        """Its pixels, as `read_image` gives them."""
        rows, columns = self.sizes[index].tolist()
        return read_image(self.call, self.paths[index], (rows, columns))

    def take(self, indices: Tensor) -> Self:
        """The images at ``indices``, in that order."""
        chosen = indices.tolist()
        ids, paths = ([names[i] for i in chosen] for names in (self.ids, self.paths))
        return replace(self, ids=ids, paths=paths, sizes=self.sizes[indices], known=self.known.take(indices))


@dataclass(frozen=True, eq=False)
class MemoryPart:
    """Images of one size in memory, as `DetectionPart` says.

    Attributes:
        ids: the number of each image.
        images: uint8 (M, 3, H, W).
        known: the objects.
        notes: none.
    """

    ids: Sequence[int | str]
    images: Tensor
    known: Packed
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> Tensor:
        """int64 (M, 2), rows and columns."""
        return torch.tensor(self.images.shape[2:]).expand(len(self.images), 2)

    def __len__(self) -> int:
        return len(self.ids)

    def objects(self, index: int) -> Objects:
        """What is in an image."""
        return self.known.of(index)

    def image(self, index: int) -> Tensor:
        """Its pixels, without a copy."""
        return self.images[index]

    def take(self, indices: Tensor) -> Self:
        """The images at ``indices``, in that order."""
        ids = [self.ids[i] for i in indices.tolist()]
        return type(self)(ids, self.images[indices], self.known.take(indices))


def targets(part: DetectionPart, index: int) -> tuple[Tensor, Tensor]:
    """What a detector is to find in an image, in training: float32 (n, 4) boxes and int64 (n,) labels, from 0.

    Crowds are left out, for their box is that of no object. VOC's difficult objects are in, as in the training of SSD
    by its authors (``use_difficult_gt`` in the Caffe code of Liu et al. 2016); Faster R-CNN's left them out. Only
    scores treat them apart.
    """
    known = part.objects(index)
    kept = ~known.crowd
    return known.boxes[kept], known.labels[kept]


def read_image(call: str, path: str, size: tuple[int, int]) -> Tensor:
    """An image file's pixels, uint8 (3, H, W), as RGB; never turned by EXIF, for boxes are of the image as stored.

    Args:
        call: the call as the user wrote it, for messages.
        path: of the file.
        size: rows and columns as annotated.

    Raises:
        DataError: the file is missing, is no image, or is not of that size.
    """
    from PIL import Image

    if not os.path.isfile(path):
        raise DataError(
            f"{call}: '{path}' cannot be read",
            got="No such file",
            fix="put it back where it was when the set was loaded, or load the set again",
        )
    with readable(call, path), Image.open(path) as opened:
        pixels = torch.from_numpy(np.array(opened if opened.mode == "RGB" else rgb(opened)))
    if pixels.shape[:2] != size:
        raise DataError(
            f"{call}: an image is not of the size that its annotation tells, so its boxes are of another one",
            got=f"{path}: {pixels.shape[1]} x {pixels.shape[0]}, annotated as {size[1]} x {size[0]}",
            fix="put back the image that was annotated, or mend the annotation",
        )
    return pixels.permute(2, 0, 1).contiguous()


def find_files(call: str, listed: Path, paths: Sequence[str]) -> None:
    """See that images can be read and every one is there: 2 us a file on a local disk.

    Args:
        call: the call as the user wrote it, for messages.
        listed: the file that lists them.
        paths: of the images.

    Raises:
        DataError: Pillow is not installed, or files are missing.
    """
    need_pillow(call)
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise DataError(
            f"{call}: {len(missing):,} of {len(paths):,} images that {listed.name!r} lists have no file",
            got=f"the first is {missing[0]}",
            fix="put the missing images there, or take them out of the list",
        )
