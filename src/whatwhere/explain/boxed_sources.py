"""Pictures for detectors: whole, of any size, with what is known of the objects in them."""

import glob
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from whatwhere.data.decode import readable, rgb
from whatwhere.data.detection_loading import detection_names, load_test
from whatwhere.data.readers import Place
from whatwhere.errors import DataError, closest
from whatwhere.explain.detected import BoxedPicture
from whatwhere.explain.detecting import pictures_of
from whatwhere.explain.sources import Entry, files

__all__ = ["boxed_pictures"]


def boxed_pictures(
    sources: Sequence[str],
    problems: list[str],
    *,
    classes: Sequence[str],
    categories: Sequence[int],
    limit: int | None = None,
    root: Path | None = None,
) -> Iterator[BoxedPicture]:
    """Read what the user points at, one picture at a time; files are turned as EXIF says.

    The names of all pictures are known, and held against each other, before the first one is read.

    Args:
        sources: image files, folders and patterns; or ``scenes``, ``coco:PATH`` and ``voc:PATH``, of which the images
            that are reported are read, as they are stored.
        problems: what is said of each image file that cannot be read is added here, and the others are read.
        classes: of the detector, which a data set must have too; likewise ``categories``, its publishers' numbers.
        categories: likewise.
        limit: pictures in all, with those that cannot be read.
        root: where ``coco`` and ``VOCdevkit`` lie.

    Raises:
        DataError: there is no such source, a data set has other classes or numbers them otherwise, two pictures have
            one name in results files, or no picture can be read.
    """
    call = f"detect predict({' '.join(sources)!r})"
    named: dict[int | str, str] = {}
    opened = []
    for source in sources:
        left = None if limit is None else limit - len(named)
        if left == 0:
            break
        names, pictures = _open(source, problems, left, root, (tuple(classes), tuple(categories)))
        _add(call, named, names, source)
        opened.append(pictures)
    found = 0
    for picture in chain.from_iterable(opened):
        yield picture
        found += 1
    if not found:
        raise DataError(f"{call}: no picture can be read", got=problems[0] if problems else "no picture")


def _open(
    source: str,
    problems: list[str],
    limit: int | None,
    root: Path | None,
    known: tuple[tuple[str, ...], tuple[int, ...]],
) -> tuple[Sequence[int | str], Iterator[BoxedPicture]]:
    """What results files call the pictures of a source, and the pictures, none of which is read yet."""
    if source.partition(":")[0] in detection_names() and not Path(source).exists():
        splits = load_test(source, root=root)
        if (splits.classes, splits.categories) != known:
            raise DataError(
                f"detect predict({source!r}): the set has other classes than the detector, or numbers them otherwise",
                got=f"{_listed(splits.classes)}; the detector {_listed(known[0])}",
                fix="name the folder of its images, whose objects are then not looked at",
            )
        part = splits.test
        part = part.take(torch.arange(min(len(part), limit or len(part))))
        return part.ids, pictures_of(part)
    call = f"detect predict({source!r})"
    _check_there(call, source)
    entries = files(call, source)[:limit]
    return [entry.name for entry in entries], _read(call, entries, problems)


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:4]) + (f", ... ({len(classes)})" if len(classes) > 4 else "")


def _add(call: str, named: dict[int | str, str], names: Sequence[int | str], source: str) -> None:
    """Add the names of a source's pictures to those of the sources before it."""
    for name in names:
        if name in named:
            raise DataError(
                f"{call}: two pictures have one name, by which a results file tells them apart",
                got=f"{name!r} in {named[name]!r} and in {source!r}",
                fix="name a folder above both, or look at each source in a call of its own",
            )
        named[name] = source


def _read(call: str, entries: Sequence[Entry], problems: list[str]) -> Iterator[BoxedPicture]:
    for entry in entries:
        assert isinstance(entry.image, Place)
        try:
            yield BoxedPicture(entry.name, _upright(call, entry.image.path))
        except DataError as error:
            problems.append(f"{error.rule} ({error.got})")


def _check_there(call: str, source: str) -> None:
    path = Path(source).expanduser()
    if path.exists() or glob.has_magic(source):
        return
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    raise DataError(
        f"{call}: there is no file, folder or data set of this name",
        closest=closest(source, detection_names()) + closest(path.name, beside),
        fix=f"an image, a folder, a pattern in quotes, {', '.join(detection_names())}, coco:PATH or voc:PATH",
    )


def _upright(call: str, path: str) -> Tensor:
    """Pixels uint8 (3, H, W), turned as EXIF says."""
    import numpy as np
    from PIL import Image, ImageOps

    with readable(call, path), Image.open(path) as opened:
        return torch.from_numpy(np.array(rgb(ImageOps.exif_transpose(opened)))).permute(2, 0, 1).contiguous()
