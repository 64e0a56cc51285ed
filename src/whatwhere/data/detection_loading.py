"""Detection sets by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from whatwhere.data import scenes_many
from whatwhere.data.detection import DetectionPart, DetectionSplits, Scoring
from whatwhere.data.detection_coco import coco_parts, coco_test
from whatwhere.data.detection_voc import voc_parts, voc_test
from whatwhere.data.loading import data_folder
from whatwhere.data.split import cut
from whatwhere.errors import DataError, closest

__all__ = ["detection_names", "full_name", "load_detection", "load_test"]

_FOLDERS = {"coco": "coco", "voc": "VOCdevkit"}
_SCENES_SIZE = 96
_SCENES_NUMBERS = tuple(range(1, len(scenes_many.CLASSES) + 1))
_SCENES_POOL, _SCENES_TEST = (2_000, 0), (500, 1)
"""Images, and the seed they are drawn from: the set is always the same one, like a published one."""

AnyPart = TypeVar("AnyPart", bound=DetectionPart)


def detection_names() -> tuple[str, ...]:
    """What `load_detection` knows; ``coco`` and ``voc`` also as ``coco:PATH`` and ``voc:PATH``."""
    return (*_FOLDERS, "scenes")


def full_name(name: str, root: Path | str | None = None) -> str:
    """A name of `load_detection` with the folder that it stands for: what the loaded set calls itself."""
    kind, _, path = name.partition(":")
    if kind not in _FOLDERS:
        return name
    folder = Path(path).expanduser() if path else data_folder(root) / _FOLDERS[kind]
    return f"{kind}:{folder.resolve()}"


def load_detection(
    name: str,
    *,
    root: Path | str | None = None,
    validation: float = 0.1,
    seed: int = 0,
    limit: int | None = None,
    image_size: int | None = None,
) -> DetectionSplits:
    """A detection set as published, the images to choose by split by ``seed`` from those to learn from.

    ``coco`` learns from ``train`` and reports ``val``. ``voc`` learns from ``trainval`` of 2007 and 2012 and reports
    ``test`` of 2007; without a list of test images, ``train`` and ``val``; its classes are the 20 of VOC in their order
    if no other occurs, else all, sorted. ``scenes`` are drawn on the spot: 2,000 images to learn from, 500 to report.

    What is known of the objects is held in memory, 30 bytes each, and image files are read when asked for; that each is
    there is seen now. Images without objects are kept. For 118,000 images and 860,000 objects of COCO, half a minute,
    half of it reading JSON; five seconds for the 21,500 images of VOC.

    Args:
        name: one of `detection_names`, or ``coco:PATH`` (the folder above ``annotations``) or ``voc:PATH``
            (``VOCdevkit``, or a folder of one year), which read PATH and no ``root``.
        root: the folder that holds ``coco`` and ``VOCdevkit``. None is the environment variable WHATWHERE_DATA, or else
            ``~/.cache/whatwhere``.
        validation: share of the training images held back to choose by, in [0, 1).
        seed: of that split, which is drawn image by image: a smaller ``limit`` takes some of a larger one's images and
            leaves validation as it was.
        limit: training images to keep; validation and test are left whole.
        image_size: rows and columns of ``scenes`` (96 if None); no other set takes one.

    Raises:
        DataError: an unknown name, files missing or not what they claim to be, an annotation that is none, no object to
            learn from, or an argument out of range.
    """
    call = f"load_detection({name!r})"
    with _refusals(call, root):
        kind, named, folder = _place(call, name, root, image_size)
        classes, numbers, learn, test = _both(call, kind, folder, image_size)
    train, held = _cut(learn, validation=validation, seed=seed, limit=limit)
    if not any(bool((~train.objects(i).crowd).any()) for i in range(len(train))):
        raise DataError(
            f"{call}: there is nothing to learn from: no training image has an object",
            got=f"{len(train):,} images",
            fix="annotate some, or raise limit=",
        )
    return DetectionSplits(named, classes, numbers, train, held, test, _scoring(kind))


def load_test(name: str, *, root: Path | str | None = None, image_size: int | None = None) -> DetectionSplits:
    """What `load_detection` reports, without the images to learn from, which need not be there.

    Of ``coco`` nothing but the file and the images of ``val`` is opened. The classes of ``voc`` are those that are
    learnt from: such annotations are read if a list names them, but none of their images; without a list, classes are
    those of the images that are reported.

    Args:
        name: as in `load_detection`.
        root: as there.
        image_size: as there.

    Returns:
        The set with the part ``test``; ``train`` and ``validation`` are empty.

    Raises:
        DataError: an unknown name, files missing or not what they claim to be, an annotation that is none, or an
            ``image_size`` for a set that takes none.
    """
    call = f"load_test({name!r})"
    with _refusals(call, root):
        kind, named, folder = _place(call, name, root, image_size)
        classes, numbers, test = _test(call, kind, folder, image_size)
    none = test.take(torch.arange(0))
    return DetectionSplits(named, classes, numbers, none, none, test, _scoring(kind))


@contextmanager
def _refusals(call: str, root: Path | str | None) -> Iterator[None]:
    """What the system refuses, in our words."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{call}: '{error.filename or data_folder(root)}' cannot be read",
            got=error.strerror or str(error),
            fix="see that it is there and you may read it, or name another folder by root= or WHATWHERE_DATA",
        ) from error


def _place(call: str, name: str, root: Path | str | None, image_size: int | None) -> tuple[str, str, Path]:
    """Of which kind a set is, what it calls itself, and the folder it lies in."""
    kind, colon, path = name.partition(":")
    if name == "scenes":
        return kind, name, Path()
    if kind not in _FOLDERS or bool(colon) != bool(path):
        raise DataError(
            f"{call}: no detection set has this name",
            closest=closest(name, detection_names()),
            fix=f"one of {', '.join(detection_names())}, coco:PATH or voc:PATH",
        )
    if image_size is not None:
        raise DataError(
            f"{call[:-1]}, image_size={image_size}): the images of this set have the size they were published in",
            fix="leave image_size out",
        )
    named = full_name(name, root)
    return kind, named, Path(named.partition(":")[2])


def _both(
    call: str, kind: str, folder: Path, image_size: int | None
) -> tuple[tuple[str, ...], tuple[int, ...], DetectionPart, DetectionPart]:
    """Classes, their numbers, the part to learn from and the part to report."""
    if kind == "coco":
        return coco_parts(call, folder)
    if kind == "voc":
        return voc_parts(call, folder)
    learn, test = (_scenes(which, image_size) for which in (_SCENES_POOL, _SCENES_TEST))
    return scenes_many.CLASSES, _SCENES_NUMBERS, learn, test


def _test(
    call: str, kind: str, folder: Path, image_size: int | None
) -> tuple[tuple[str, ...], tuple[int, ...], DetectionPart]:
    """Classes, their numbers and the part to report."""
    if kind == "coco":
        return coco_test(call, folder)
    if kind == "voc":
        return voc_test(call, folder)
    return scenes_many.CLASSES, _SCENES_NUMBERS, _scenes(_SCENES_TEST, image_size)


def _scenes(which: tuple[int, int], image_size: int | None) -> DetectionPart:
    count, stream = which
    size = _SCENES_SIZE if image_size is None else image_size
    return scenes_many.generate_many(count, seed=stream, image_size=size)


def _scoring(kind: str) -> Scoring:
    return "voc" if kind == "voc" else "coco"


def _cut(part: AnyPart, *, validation: float, seed: int, limit: int | None) -> tuple[AnyPart, AnyPart]:
    """Some images to learn from and some to choose by, each in the order of the part."""

    def order() -> torch.Tensor:
        return torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))

    kept, held = cut("load_detection", len(part), order, validation=validation, limit=limit)
    return part.take(kept), part.take(held)
