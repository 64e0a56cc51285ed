"""Data sets by name."""

import os
from pathlib import Path

from whatwhere.data import scenes
from whatwhere.data.cifar import cifar10, cifar100
from whatwhere.data.fashion_mnist import fashion_mnist
from whatwhere.data.folder import folder
from whatwhere.data.images import ImageSet, Splits
from whatwhere.data.split import brightness, split
from whatwhere.errors import DataError, closest

__all__ = ["load", "names"]

_PUBLISHED = {"cifar10": (cifar10, 32), "cifar100": (cifar100, 32), "fashion-mnist": (fashion_mnist, 28)}
_FOLDER_SIZE = 224
_SCENES_SIZE = 32
_SCENES_POOL = (
    8_000,
    0,
)  # images, and the seed they are drawn from: the set is always the same one, like a published one
_SCENES_TEST = (2_000, 1)


def names() -> tuple[str, ...]:
    """What `load` knows; ``folder`` also as ``folder:PATH``."""
    return (*_PUBLISHED, "folder", "scenes")


def load(
    name: str,
    *,
    root: Path | str | None = None,
    validation: float = 0.1,
    seed: int = 0,
    limit: int | None = None,
    image_size: int | None = None,
) -> Splits:
    """A data set in memory, its training images split in two by ``seed``, its test images as they are.

    Args:
        name: one of `names`, or ``folder:PATH``, which reads PATH and no ``root``.
        root: the folder that holds the set's folder, and receives what is downloaded; for ``folder``, the folder of
            ``train`` and ``val``. None is the environment variable WHATWHERE_DATA, or else ``~/.cache/whatwhere``.
        validation: share of the training images held back to choose by, in [0, 1), the same of every class.
        seed: of that split.
        limit: training images to keep, the same share of every class; validation and test are left whole.
        image_size: rows and columns, for ``folder`` (224 if None) and ``scenes`` (32 if None) only.

    Raises:
        DataError: an unknown name, files missing, closed or not what they claim to be, a folder with more images than
            memory holds, or an argument out of range.
    """
    base = Path(root or os.environ.get("WHATWHERE_DATA") or "~/.cache/whatwhere").expanduser()
    try:
        return _load(name, base, validation, seed, limit, image_size)
    except OSError as error:
        raise DataError(
            f"load({name!r}): '{error.filename or base}' cannot be read",
            got=error.strerror or str(error),
            fix="see that you may read it, or name another folder by root= or WHATWHERE_DATA",
        ) from error


def _load(name: str, base: Path, validation: float, seed: int, limit: int | None, image_size: int | None) -> Splits:
    kind, _, path = name.partition(":")
    if kind == "folder" and (path or ":" not in name):
        base = Path(path).expanduser() if path else base
        size = _size(name, image_size, _FOLDER_SIZE)
        classes, train, held, test = folder(
            f"load({name!r})", base, validation=validation, seed=seed, limit=limit, image_size=size
        )
        return _splits(f"folder:{base.resolve()}", classes, train, held, test)
    classes, pool, test = _pool(name, base, image_size)
    kept, chosen = split(pool.labels, validation=validation, seed=seed, limit=limit)
    return _splits(name, classes, pool.take(kept), pool.take(chosen), test)


def _pool(name: str, root: Path, image_size: int | None) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """Class names, images to split, images to test with."""
    if name == "scenes":
        size = _size(name, image_size, _SCENES_SIZE)
        pool, test = (
            scenes.generate(count, seed=stream, image_size=size) for count, stream in (_SCENES_POOL, _SCENES_TEST)
        )
        return scenes.CLASSES, pool, test
    if name not in _PUBLISHED:
        raise DataError(
            f"load({name!r}): no data set has this name",
            closest=closest(name, names()),
            fix=f"one of {', '.join(names())}, or folder:PATH",
        )
    read, size = _PUBLISHED[name]
    if image_size not in (None, size):
        raise DataError(
            f"load({name!r}, image_size={image_size}): the images of this set have the size they were published in",
            got=f"{size} x {size}",
            fix="leave image_size out",
        )
    return read(root)


def _size(name: str, image_size: int | None, usual: int) -> int:
    if image_size is not None and image_size < 1:
        raise DataError(f"load({name!r}, image_size={image_size}): image_size is a number of pixels, 1 or more")
    return usual if image_size is None else image_size


def _splits(name: str, classes: tuple[str, ...], train: ImageSet, validation: ImageSet, test: ImageSet) -> Splits:
    mean, std = brightness(train.images)
    return Splits(name, classes, train, validation, test, mean, std)
