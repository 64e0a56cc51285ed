"""Pictures for detectors: whole, of any size, with what is known of the objects in them."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from whatwhere.data.decode import readable, rgb
from whatwhere.data.detection_loading import detection_names, load_detection
from whatwhere.data.readers import Place
from whatwhere.errors import DataError, closest
from whatwhere.explain.detected import BoxedPicture
from whatwhere.explain.detecting import pictures_of
from whatwhere.explain.sources import files

__all__ = ["boxed_pictures"]


def boxed_pictures(
    sources: Sequence[str], problems: list[str], *, limit: int | None = None, root: Path | None = None
) -> Iterator[BoxedPicture]:
    """Read what the user points at, one picture at a time; files are turned as EXIF says.

    Args:
        sources: image files, folders and patterns; or ``scenes``, ``coco:PATH`` and ``voc:PATH``, of which the images
            that are reported are read, as they are stored.
        problems: what is said of each image file that cannot be read is added here, and the others are read.
        limit: pictures in all.
        root: where ``coco`` and ``VOCdevkit`` lie.

    Raises:
        DataError: there is no such source, or no picture in it can be read.
    """
    left, found = limit, 0
    for source in sources:
        for picture in _of_source(source, problems, left, root):
            yield picture
            found += 1
            left = None if limit is None else limit - found
        if left == 0:
            return
    if not found:
        raise DataError(
            f"detect predict({' '.join(sources)!r}): no picture can be read",
            got=problems[0] if problems else "no picture",
        )


def _of_source(source: str, problems: list[str], limit: int | None, root: Path | None) -> Iterator[BoxedPicture]:
    if source.partition(":")[0] in detection_names() and not Path(source).exists():
        part = load_detection(source, root=root, validation=0).test
        yield from pictures_of(part.take(torch.arange(min(len(part), limit or len(part)))))
        return
    call = f"detect predict({source!r})"
    _check_there(call, source)
    for entry in files(call, source)[:limit]:
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
