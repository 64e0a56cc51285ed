"""CIFAR-10 and CIFAR-100 as published: a folder of pickles (Krizhevsky 2009)."""

from pathlib import Path

import numpy as np
import torch

from whatwhere.data.download import broken, ensure
from whatwhere.data.images import ImageSet
from whatwhere.data.pickles import read

__all__ = ["cifar10", "cifar100"]

_SIDE = 32


def cifar10(root: Path) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """Class names, the 50,000 images to train on and the 10,000 to test with, from ``root/cifar-10-batches-py``.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are not as published.
    """
    folder = ensure("cifar10", root, "cifar-10-batches-py")
    classes = _classes("cifar10", folder / "batches.meta", "label_names")
    batches = [_images("cifar10", folder / f"data_batch_{i}", "labels", len(classes)) for i in range(1, 6)]
    pool = ImageSet(torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches]))
    return classes, pool, _images("cifar10", folder / "test_batch", "labels", len(classes))


def cifar100(root: Path) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """Names of the 100 fine classes, and images as `cifar10` gives them, from ``root/cifar-100-python``.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are not as published.
    """
    folder = ensure("cifar100", root, "cifar-100-python")
    classes = _classes("cifar100", folder / "meta", "fine_label_names")
    pool, test = (_images("cifar100", folder / part, "fine_labels", len(classes)) for part in ("train", "test"))
    return classes, pool, test


def _classes(name: str, path: Path, key: str) -> tuple[str, ...]:
    names = read(name, path).get(key)
    if not isinstance(names, list) or not names or not all(isinstance(word, bytes) for word in names):
        raise broken(name, path, f"has no list of names under {key!r}")
    return tuple(word.decode("ascii", "replace") for word in names)


def _images(name: str, path: Path, key: str, classes: int) -> ImageSet:
    content = read(name, path)
    pixels, labels = content.get("data"), content.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != 3 * _SIDE**2 or not len(pixels):
        shape = pixels.shape if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise broken(name, path, "has no array of (images, 3072) under 'data'", str(shape))
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise broken(name, path, f"has no list of integers under {key!r}")
    if len(labels) != len(pixels):
        raise broken(name, path, "holds not one label for each image", f"{len(labels)} labels, {len(pixels)} images")
    if min(labels) < 0 or max(labels) >= classes:
        raise broken(name, path, f"holds labels outside 0 to {classes - 1}", f"{min(labels)} to {max(labels)}")
    images = torch.from_numpy(pixels.reshape(-1, 3, _SIDE, _SIDE).copy())
    return ImageSet(images, torch.tensor(labels, dtype=torch.int64))
