"""Data sets by name."""

import os
from pathlib import Path

from whatwhere.data import scenes
from whatwhere.data.cifar import cifar10, cifar100
from whatwhere.data.fashion_mnist import fashion_mnist
from whatwhere.data.folder import folder
from whatwhere.data.images import ImageSet, Splits
from whatwhere.data.readers import Readers
from whatwhere.data.split import brightness, split
from whatwhere.data.streams import IMAGENET, streams
from whatwhere.errors import DataError, closest

__all__ = ["SCENES_TEST", "data_folder", "load", "names"]

_PUBLISHED = {"cifar10": (cifar10, 32), "cifar100": (cifar100, 32), "fashion-mnist": (fashion_mnist, 28)}
_FILES_SIZE = 224
_SCENES_SIZE = 32
_SCENES_POOL = (
    8_000,
    0,
)  # images, and the seed they are drawn from: the set is always the same one, like a published one
SCENES_TEST = (2_000, 1)
"""How many test images `load` draws, and from which seed."""


def names() -> tuple[str, ...]:
    """What `load` knows; ``folder`` and ``stream`` also as ``folder:PATH`` and ``stream:PATH``."""
    return (*_PUBLISHED, "folder", "imagenet", "scenes", "stream")


def load(
    name: str,
    *,
    root: Path | str | None = None,
    validation: float = 0.1,
    seed: int = 0,
    limit: int | None = None,
    image_size: int | None = None,
    workers: int | None = None,
) -> Splits:
    """A data set, its training images split in two by ``seed``, its test images as they are.

    ``imagenet`` and ``stream`` are read while somebody trains, from a folder tree or from shards (`write_shards`, or
    others' in the WebDataset form); all others are held in memory. ``imagenet`` is a stream with ImageNet's own mean
    and standard deviation, tested with its ``val``.

    Args:
        name: one of `names`, or ``folder:PATH`` or ``stream:PATH``, which read PATH and no ``root``.
        root: the folder that holds the set's folder, and receives what is downloaded; for ``folder`` and ``stream``,
            the folder of ``train`` and ``val`` itself. None is the environment variable WHATWHERE_DATA, or else
            ``~/.cache/whatwhere``.
        validation: share of the training images held back to choose by, in [0, 1), the same of every class.
        seed: of that split.
        limit: training images to keep, the same share of every class; validation and test are left whole.
        image_size: rows and columns, for ``folder``, ``imagenet`` and ``stream`` (224 if None) and ``scenes`` (32).
        workers: processes that decode a stream; 0 for none but this one, None for one fewer than there are CPUs.

    Raises:
        DataError: an unknown name, files missing, closed or not what they claim to be, a folder with more images than
            memory holds, or an argument out of range.
    """
    base = data_folder(root)
    try:
        if name == "imagenet" or _is(name, "stream"):
            return _stream(name, base, validation, seed, limit, image_size, workers)
        return _load(name, base, validation, seed, limit, image_size)
    except OSError as error:
        raise DataError(
            f"load({name!r}): '{error.filename or base}' cannot be read",
            got=error.strerror or str(error),
            fix="see that you may read it, or name another folder by root= or WHATWHERE_DATA",
        ) from error


def data_folder(root: str | os.PathLike[str] | None) -> Path:
    """Where data sets lie that are named without a path, as `load` says."""
    return Path(root or os.environ.get("WHATWHERE_DATA") or "~/.cache/whatwhere").expanduser()


def _is(name: str, kind: str) -> bool:
    """Whether a name is KIND or KIND:PATH."""
    return name == kind or (name.startswith(f"{kind}:") and name != f"{kind}:")


def _named(name: str, base: Path) -> Path:
    path = name.partition(":")[2]
    return Path(path).expanduser() if path else base


def _load(name: str, base: Path, validation: float, seed: int, limit: int | None, image_size: int | None) -> Splits:
    if _is(name, "folder"):
        base = _named(name, base)
        size = _size(name, image_size, _FILES_SIZE)
        classes, train, held, test = folder(
            f"load({name!r})", base, validation=validation, seed=seed, limit=limit, image_size=size
        )
        return _splits(f"folder:{base.resolve()}", classes, train, held, test)
    classes, pool, test = _pool(name, base, image_size)
    kept, chosen = split(pool.labels, validation=validation, seed=seed, limit=limit)
    return _splits(name, classes, pool.take(kept), pool.take(chosen), test)


def _stream(
    name: str,
    base: Path,
    validation: float,
    seed: int,
    limit: int | None,
    image_size: int | None,
    workers: int | None,
) -> Splits:
    if workers is not None and workers < 0:
        raise DataError(f"load({name!r}, workers={workers}): workers is a number of processes, 0 or more")
    call, published = f"load({name!r})", name == "imagenet"
    # resolved, for the readers' own folder is another
    root = (base / name if published else _named(name, base)).resolve()
    there = (
        "put ImageNet's 'train' and 'val' there, as folders or as shards, or name the folder above 'imagenet' by root="
    )
    classes, train, held, test = streams(
        call,
        root,
        cache=base,
        validation=validation,
        seed=seed,
        limit=limit,
        readers=Readers(call, _size(name, image_size, _FILES_SIZE), workers),
        fix=there if published else "name the folder above 'train', or the one of the shards, as 'stream:PATH'",
        names=("train", "val") if published else ("train", "val", "test"),
    )
    mean, std = IMAGENET if published else train.brightness()
    return Splits(name if published else f"stream:{root}", classes, train, held, test, mean, std)


def _pool(name: str, root: Path, image_size: int | None) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """Class names, images to split, images to test with."""
    if name == "scenes":
        size = _size(name, image_size, _SCENES_SIZE)
        pool, test = (
            scenes.generate(count, seed=stream, image_size=size) for count, stream in (_SCENES_POOL, SCENES_TEST)
        )
        return scenes.CLASSES, pool, test
    if name not in _PUBLISHED:
        raise DataError(
            f"load({name!r}): no data set has this name",
            closest=closest(name, names()),
            fix=f"one of {', '.join(names())}, folder:PATH or stream:PATH",
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
