"""Trees of image files as ImageNet and Imagenette lay them out: part/class/image."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from whatwhere.data.decode import decode
from whatwhere.data.images import ImageSet
from whatwhere.data.memory import check_memory
from whatwhere.data.readers import Place
from whatwhere.data.split import assign
from whatwhere.errors import DataError

__all__ = ["SUFFIXES", "Listing", "folder", "is_image", "list_parts"]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
"""How the names of image files end, in small letters."""


@dataclass(frozen=True, eq=False)
class Listing:
    """The paths of the image files of one part, by class, then by name, and their labels, int64."""

    files: list[str]
    labels: Tensor

    def take(self, indices: Tensor) -> "Listing":
        return Listing([self.files[i] for i in indices.tolist()], self.labels[indices])

    def decode(self, call: str, image_size: int) -> ImageSet:
        return ImageSet(decode(call, self.files, image_size), self.labels)

    def places(self, indices: Tensor) -> list[Place]:
        """Where the images at ``indices`` lie."""
        return [Place(self.files[i]) for i in indices.tolist()]

    def order(self, generator: torch.Generator) -> Tensor:
        """A permutation, int64 (N,), every one as likely as any other: a file is a file, wherever it lies."""
        return torch.randperm(len(self.files), generator=generator)


def folder(
    call: str, root: Path, *, validation: float, seed: int, limit: int | None, image_size: int
) -> tuple[tuple[str, ...], ImageSet, ImageSet, ImageSet]:
    """Class names, training, validation and test images of ``root/train`` and ``root/val`` and, or, ``root/test``.

    With a test folder, ``val`` is validation; without one, ``val`` is what is tested with and validation is split from
    ``train``, as it is without a ``val``. Only the images kept are decoded. All are held in memory, 3 bytes a pixel:
    150 KB each at 224, so 10,000 images take 1.5 GB.

    Args:
        call: the call as the user wrote it, for messages.
        root: the folder of the parts.
        validation: share of ``train``; without effect where ``val`` and ``test`` both exist.
        seed: of the split.
        limit: training images kept.
        image_size: rows and columns.

    Raises:
        DataError: a part or its images are missing, the parts' classes differ, a file is no image, or they are too
            many for the memory.
    """
    classes, listings = list_parts(call, root, fix="name the folder above 'train', as 'folder:PATH'")
    chosen = assign(listings, validation=validation, seed=seed, limit=limit)
    check_memory(call, sum(len(listing.files) for listing in chosen), image_size)
    learn, choose, report = (listing.decode(call, image_size) for listing in chosen)
    return classes, learn, choose, report


def list_parts(
    call: str, root: Path, *, fix: str, names: tuple[str, ...] = ("train", "val", "test")
) -> tuple[tuple[str, ...], dict[str, Listing]]:
    """Class names, and the image files of each part there is; no image is opened. 5 us a file on a local disk.

    Args:
        call: the call as the user wrote it, for messages.
        root: the folder of the parts.
        fix: what to do where they are not there.
        names: of the parts to look for.

    Raises:
        DataError: a part or its images are missing, or the parts' classes differ.
    """
    parts = {name: root / name for name in names if (root / name).is_dir()}
    if "train" not in parts or len(parts) < 2:
        raise DataError(
            f"{call}: the folder must hold 'train' and one of 'val' and 'test', each with a folder a class",
            got=f"{root}: {', '.join(parts) or ('none of them' if root.is_dir() else 'no such folder')}",
            fix=fix,
        )
    classes = _classes(call, parts["train"])
    return classes, {name: _list(call, part, classes) for name, part in parts.items()}


def _classes(call: str, part: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        raise DataError(
            f"{call}: {part.name!r} must hold a folder for each of at least two classes",
            got=f"{part}: {', '.join(names) or 'no folder'}",
            fix="sort the images into one folder a class",
        )
    return tuple(names)


def _list(call: str, part: Path, classes: tuple[str, ...]) -> Listing:
    found = _classes(call, part)
    if found != classes:
        odd = sorted(set(found) ^ set(classes))
        raise DataError(
            f"{call}: {part.name!r} must hold the class folders that 'train' holds",
            got=f"{part}: {len(odd)} in one of them only, such as {odd[0]!r}",
            fix="give both parts the same class folders",
        )
    files: list[str] = []
    counts = []
    for name in classes:
        images = sorted(str(file) for file in (part / name).iterdir() if is_image(file))
        if not images:
            raise DataError(
                f"{call}: a class folder holds no image",
                got=f"{part / name}",
                fix="put images there, or delete the class from every part",
            )
        files += images
        counts.append(len(images))
    return Listing(files, torch.arange(len(classes)).repeat_interleave(torch.tensor(counts)))


def is_image(file: Path) -> bool:
    """Whether a file's name is an image's; hidden files are none."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
