"""Fashion-MNIST as published: four IDX files, packed or not (Xiao et al. 2017)."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whatwhere.data.download import broken, ensure
from whatwhere.data.images import ImageSet

__all__ = ["CLASSES", "fashion_mnist"]

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_SIDE = 28


def fashion_mnist(root: Path) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """Class names, the 60,000 grey images to train on and the 10,000 to test with.

    Read from ``root/fashion-mnist``, or from torchvision's ``root/FashionMNIST/raw``.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are not as published.
    """
    folder = ensure("fashion-mnist", root, "fashion-mnist", "FashionMNIST/raw")
    return CLASSES, _images(folder, "train"), _images(folder, "t10k")


def _images(folder: Path, part: str) -> ImageSet:
    path = _find(folder, f"{part}-images-idx3-ubyte")
    images = _read(path, 3)
    if images.shape[1:] != (_SIDE, _SIDE) or not len(images):
        raise broken("fashion-mnist", path, "holds no images of 28 x 28", str(tuple(images.shape)))
    path = _find(folder, f"{part}-labels-idx1-ubyte")
    labels = _read(path, 1).long()
    if len(labels) != len(images):
        raise broken(
            "fashion-mnist", path, "holds not one label for each image", f"{len(labels)} labels, {len(images)} images"
        )
    if int(labels.max()) >= len(CLASSES):
        raise broken("fashion-mnist", path, "holds labels outside 0 to 9", f"up to {int(labels.max())}")
    return ImageSet(images[:, None], labels)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise broken("fashion-mnist", folder / f"{name}.gz", "is missing")


def _read(path: Path, axes: int) -> Tensor:
    """The bytes of an IDX file of ``axes`` axes: two zeros, type 8, the number of axes, each length, the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *shape = struct.unpack(f">{1 + axes}I", file.read(4 + 4 * axes))
            length = int(np.prod(shape, dtype=object))
            data = file.read(length + 1) if magic == 0x800 + axes else b""
    except (gzip.BadGzipFile, EOFError, zlib.error, struct.error, OverflowError, MemoryError) as error:
        raise broken("fashion-mnist", path, "cannot be read", f"{type(error).__name__}: {error}") from None
    if magic != 0x800 + axes:
        raise broken("fashion-mnist", path, f"is no IDX file of {axes} axes", f"it begins with {magic:#010x}")
    if len(data) != length:
        bytes_found = f"{len(data)}" if len(data) < length else f"more than {length}"
        raise broken("fashion-mnist", path, "is not as long as it says", f"{bytes_found} bytes for {tuple(shape)}")
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy())
