"""What the user points at, found: image files, data sets, annotated sets. No image is opened here."""

import glob
import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor

from whatwhere.data import ImageSet, load, names, scenes
from whatwhere.data.annotations import Annotated
from whatwhere.data.coco import Coco, open_coco
from whatwhere.data.folder import SUFFIXES, is_image, list_parts
from whatwhere.data.loading import SCENES_TEST, data_folder
from whatwhere.data.readers import Place
from whatwhere.data.shards import has_shards, open_shards
from whatwhere.data.stream import Source
from whatwhere.data.voc import Voc, open_voc
from whatwhere.errors import DataError, closest

__all__ = ["Entry", "files", "find", "text"]


@dataclass(frozen=True, eq=False)
class Entry:
    """One image to read.

    Attributes:
        name: as shown.
        label: its class; "" where that is not known.
        image: where it lies, encoded, or its pixels, uint8 (C, H, W).
        objects: reads what is known of where its objects are; None where nothing is.
        mask: bool (H, W), the pixels of the labelled object; or None.
    """

    name: str
    label: str
    image: Place | Tensor
    objects: Callable[[], Annotated] | None = None
    mask: Tensor | None = None


def find(source: str, *, image_size: tuple[int, int], limit: int | None, root: Path | None) -> list[Entry]:
    """The images of a source, as `pictures` describes it. A data set's name comes before a file's of that name.

    Raises:
        DataError: there is no such source, or no image in it.
        OSError: the system refuses.
    """
    call = f"pictures({source!r})"
    kind, _, path = source.partition(":")
    if source == "scenes":
        return _scenes(image_size, limit)
    if source in ("folder", "stream", "imagenet") or (kind in ("folder", "stream") and path):
        return _test_part(call, source, root)
    if source in names():
        splits = load(source, root=root)
        assert isinstance(splits.test, ImageSet)
        return _in_memory(source, splits.test, splits.classes)
    if kind == "voc" and path:
        return _annotated(_voc(call, Path(path).expanduser()))
    if kind == "coco" and path:
        return _annotated(open_coco(call, _coco_file(call, Path(path).expanduser())))
    return files(call, source)


def _scenes(image_size: tuple[int, int], limit: int | None) -> list[Entry]:
    """The first ones: they are in random order, and any hundred hold each class ten times."""
    count, seed = SCENES_TEST
    drawn = scenes.generate(min(count, limit or count), seed=seed, image_size=max(24, *image_size))
    return _in_memory("scenes", drawn, scenes.CLASSES)


def _in_memory(source: str, images: ImageSet, classes: tuple[str, ...]) -> list[Entry]:
    known: list[Tensor | None] = [None] * len(images) if images.masks is None else list(images.masks)
    labels = [classes[label] for label in images.labels.tolist()]
    rows = enumerate(zip(labels, images.images, known, strict=True))
    return [Entry(f"{source} {i}", label, image, mask=mask) for i, (label, image, mask) in rows]


def _test_part(call: str, source: str, root: Path | None) -> list[Entry]:
    """Of a folder tree or of shards: ``test`` if there is one, or else ``val``."""
    base = data_folder(root)
    path = Path(source.partition(":")[2]).expanduser() if ":" in source else base
    if source == "imagenet":
        path = base / source
    fix = "name the folder above 'train', or the one of the shards, as 'folder:PATH' or 'stream:PATH'"
    parts: dict[str, Source]
    if has_shards(path):
        classes, shards = open_shards(call, path, cache=base, fix=fix, names=("train", "val", "test"))
        parts = {**shards}
    else:
        classes, listings = list_parts(call, path, fix=fix)
        parts = {**listings}
    part = parts["test" if "test" in parts else "val"]
    places = part.places(torch.arange(len(part.labels)))
    shown = (_shown(place.path, path) if place.size < 0 else f"{source} {i}" for i, place in enumerate(places))
    labels = (classes[label] for label in part.labels.tolist())
    return [Entry(*row) for row in zip(shown, labels, places, strict=True)]


def _voc(call: str, root: Path) -> Voc:
    lists = root / "ImageSets" / "Main"
    return open_voc(call, root, next((part for part in ("test", "val") if (lists / f"{part}.txt").is_file()), None))


def _coco_file(call: str, path: Path) -> Path:
    """The file itself, or that of the validation part in the folder, or else the first one there."""
    if path.is_file():
        return path
    files = sorted((path / "annotations").glob("instances_*.json"))
    if not files:
        raise DataError(
            f"{call}: the folder must hold 'annotations/instances_*.json'",
            got=f"{path}: {'no such file there' if path.is_dir() else 'no such file or folder'}",
            fix="name the folder above 'annotations', or the file itself, as 'coco:PATH'",
        )
    return next((file for file in files if "val" in file.stem), files[0])


def _annotated(known: Voc | Coco) -> list[Entry]:
    paths = [known.path(i) for i in range(len(known))]
    return [
        Entry(_shown(path, known.folder), "", Place(str(path)), partial(known.read, i)) for i, path in enumerate(paths)
    ]


def files(call: str, source: str) -> list[Entry]:
    """The images that a file, a folder or a pattern names, sorted.

    Raises:
        DataError: there is none.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [_entry(path, path.parent)]
    if path.is_dir():
        base, found = path, [Path(file) for file in _walk(path)]
    elif glob.has_magic(source):
        base = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
        found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    else:
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"{call}: there is no file, folder or data set of this name",
            closest=closest(source, names()) + closest(path.name, beside),
            fix=f"an image, a folder, a pattern in quotes, {', '.join(names())}, folder:PATH, voc:PATH or coco:PATH",
        )
    entries = [_entry(file, base) for file in found if is_image(file) and file.is_file()]
    if not entries:
        raise DataError(
            f"{call}: there is no image in it",
            got=f"{len(found)} other files",
            fix=f"name what holds files that end in {', '.join(sorted(SUFFIXES))}",
        )
    return entries


def _walk(root: Path) -> Iterator[str]:
    """All files below a folder, sorted; folders that are linked to are entered, each once, and hidden ones are not."""
    seen: set[tuple[int, int]] = set()
    for folder, inner, files in os.walk(root, onerror=_raise, followlinks=True):
        there = os.stat(folder)
        if (there.st_dev, there.st_ino) in seen:
            inner.clear()
            continue
        seen.add((there.st_dev, there.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (os.path.join(folder, name) for name in sorted(files))


def _raise(error: OSError) -> None:
    raise error


def _entry(file: Path, base: Path) -> Entry:
    """A file below ``base``; the folder it lies in is its class, if that is not ``base`` itself."""
    return Entry(_shown(file, base), "" if file.parent == base else text(file.parent.name), Place(str(file)))


def _shown(file: Path | str, base: Path) -> str:
    return text(str(Path(file).relative_to(base)))


def text(name: str) -> str:
    """A file's name fit to be shown: bytes that are no text, and what would steer a terminal, become U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in name)
