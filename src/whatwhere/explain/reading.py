"""Pictures to explain, read a few ahead from whatever the user points at."""

import io
import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from whatwhere.data.decode import THREADS, need_pillow, reason, unreadable
from whatwhere.data.readers import Place
from whatwhere.errors import DataError
from whatwhere.explain.framing import framed, masks, scaled
from whatwhere.explain.sources import Entry, find, text

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Picture", "Pictures", "pictures"]

_ORIENTATION = 0x0112
_ONE_AT_A_TIME = Lock()
_LARGE = 1 << 24
"""Pixels of an image that takes the memory of many; threads decode such ones in turn."""
_AHEAD = 2
"""Pictures that each thread has in hand or in wait."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as a network is given it.

    Attributes:
        name: of the file, below what the user named; of a data set, its name and the image's number.
        pixels: uint8 (C, H, W).
        label: the true class in words; "" where it is not known.
        masks: bool (H, W) by class, all pixels of that class's objects; of an annotated set, inside their boxes. Empty
            where nothing is known, and where the frame shows none of the objects.
    """

    name: str
    pixels: Tensor
    label: str
    masks: Mapping[str, Tensor]


class Pictures:
    """Pictures in order, read anew each time they are gone through, two a thread ahead of whoever takes them.

    Attributes:
        problems: a line for each picture that could not be read, in order; filled while they are gone through.
    """

    def __init__(self, entries: Sequence[Entry], image_size: tuple[int, int], channels: int) -> None:
        self._entries, self._image_size, self._channels = entries, image_size, channels
        self.problems: list[str] = []

    def __len__(self) -> int:
        """How many were found, those that turn out to be broken among them."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Picture]:
        self.problems.clear()
        threads = min(THREADS, os.cpu_count() or 1)
        waiting: deque[tuple[Entry, Future[Picture]]] = deque()
        pool = ThreadPoolExecutor(threads)
        try:
            for entry in self._entries:
                waiting.append((entry, self._begin(pool, entry)))
                if len(waiting) > _AHEAD * threads:
                    yield from self._end(*waiting.popleft())
            while waiting:
                yield from self._end(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, entry: Entry) -> Future[Picture]:
        """Reads the head of a file here, where warnings can be held back, and the rest of it on a thread."""
        if isinstance(entry.image, Tensor):
            return pool.submit(self._from_memory, entry, entry.image)
        try:
            opened, orientation = _open(entry.image)
        except unreadable() as error:
            failed: Future[Picture] = Future()
            failed.set_exception(error)
            return failed
        future = pool.submit(self._from_file, entry, opened, orientation)
        future.add_done_callback(lambda _: opened.close())
        return future

    def _end(self, entry: Entry, future: Future[Picture]) -> Iterator[Picture]:
        try:
            picture = future.result()
        except DataError as error:
            self.problems.append(text(f"{entry.name}: {error.rule}: {error.got}; left out"))
        except unreadable() as error:
            self.problems.append(text(f"{entry.name}: {reason(error)}; left out"))
        else:
            yield picture

    def _from_memory(self, entry: Entry, image: Tensor) -> Picture:
        from PIL import Image

        drawn = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
        pixels = scaled(drawn, self._image_size, self._channels)
        if entry.mask is None:
            return Picture(entry.name, pixels, entry.label, {})
        mask = scaled(Image.fromarray(entry.mask.numpy().astype(np.uint8) * 255), self._image_size, 1)[0] > 127
        return Picture(entry.name, pixels, entry.label, {entry.label: mask} if mask.any() else {})

    def _from_file(self, entry: Entry, opened: "Image.Image", orientation: int) -> Picture:
        size = opened.size
        with _ONE_AT_A_TIME if size[0] * size[1] > _LARGE else nullcontext():
            pixels = framed(opened, orientation, self._image_size, self._channels)
        known = {} if entry.objects is None else masks(entry.objects(), size, orientation, self._image_size)
        return Picture(entry.name, pixels, entry.label, known)


def pictures(
    sources: Sequence[str],
    *,
    image_size: tuple[int, int],
    channels: int = 3,
    limit: int | None = None,
    root: Path | None = None,
) -> Pictures:
    """The pictures of all sources, in order, each made into what a network takes; none of them is read yet.

    A source is one of

    - an image file;
    - a folder: all images below it, sorted, each with the folder it lies in as its class;
    - a pattern such as ``photos/**/*.jpg``, the same of the files that match it;
    - a data set as `whatwhere.data.load` names it: its test images, classes and, of ``scenes``, masks. Sets that lie in
      memory for training do so here; folders and shards are read file by file;
    - ``voc:PATH``, a folder with ``Annotations`` and ``JPEGImages``: of its lists ``test`` or ``val``, or all;
    - ``coco:PATH``, a file of instances, or a folder with such files in ``annotations``: ``val``, or the first.

    Images are turned by EXIF, cut to the middle of the asked shape and scaled (`framed`), their annotation with them.
    Grey, palette and CMYK become RGB; 16 bits a value become 8; alpha is dropped; of an animation the first picture is
    taken. The size at which Pillow warns is no reason to leave an image out, that at which it refuses is one.

    Args:
        sources: one or more.
        image_size: rows and columns.
        channels: 3, or 1 for grey.
        limit: how many to take, at even distances over all that was found; of ``scenes`` alone, the first ones.
        root: where data sets lie, as in `load`.

    Raises:
        DataError: Pillow is missing, a source is unknown or empty or closed, an annotation is broken as a whole, or an
            argument is out of range. What is wrong with one image is told in `Pictures.problems` instead.
    """
    if not sources or min(image_size) < 1 or channels not in (1, 3) or (limit is not None and limit < 1):
        raise DataError(
            "pictures(sources, image_size, channels, limit): there is a source, sizes and the limit are 1 or more, and "
            "channels are 1 or 3",
            got=f"{len(sources)} sources, image_size {image_size}, channels {channels}, limit {limit}",
        )
    need_pillow("pictures(...)")
    entries: list[Entry] = []
    for source in sources:
        try:
            entries += find(source, image_size=image_size, limit=limit, root=root)
        except OSError as error:
            raise DataError(
                f"pictures({source!r}): '{error.filename or source}' cannot be read",
                got=error.strerror or str(error),
                fix="see that you may read it, or name another",
            ) from None
    if limit is not None and limit < len(entries):
        entries = [entries[i * len(entries) // limit] for i in range(limit)]
    return Pictures(entries, image_size, channels)


def _open(place: Place) -> tuple["Image.Image", int]:
    """An image whose head is read, and its EXIF orientation, with no word on large images and on broken EXIF.

    Python's warnings can be held back in one thread at a time only, so this runs in the caller's.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened: Image.Image
        if place.size < 0:
            opened = Image.open(place.path)
        else:
            with open(place.path, "rb") as file:
                file.seek(place.start)
                opened = Image.open(io.BytesIO(file.read(place.size)))
        return opened, _orientation(opened)


def _orientation(opened: "Image.Image") -> int:
    """What is left to do: Pillow turns a TIFF itself when it decodes it."""
    from PIL import Image

    if opened.format == "TIFF":
        return 1
    try:
        return int(Image.Image.getexif(opened).get(_ORIENTATION, 1))  # that of PNG's own class decodes the image first
    except unreadable():
        return 1
