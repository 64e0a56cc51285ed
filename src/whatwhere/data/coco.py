"""Annotation as COCO publishes it: one JSON file for a whole part (Lin et al. 2014)."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatwhere.data.annotations import Annotated, Object, fit_box, reaches_far
from whatwhere.errors import DataError

__all__ = ["Coco", "open_coco"]

_KEYS: dict[str, dict[str, Any]] = {
    "images": {"id": (int, str), "file_name": str, "width": int, "height": int},
    "categories": {"id": (int, str), "name": str},
    "annotations": {"image_id": (int, str), "category_id": (int, str)},
}
"""What is used of each list's entries, and of which kind it is."""
_KINDS = {int: "a whole number", str: "a text", (int, str): "a whole number or a text"}
_MOST = 1 << 30
"""Bytes of a file; the largest that COCO publishes has 450 MB."""


@dataclass(frozen=True)
class Coco:
    """The images of one JSON file, in its order.

    Attributes:
        call: the call as the user wrote it, for messages.
        file: of the annotations.
        folder: of the images.
        classes: the name of each category id.
        images: the entries of the file.
        annotations: those of each image, as in the file.
    """

    call: str
    file: Path
    folder: Path
    classes: dict[Any, str]
    images: list[dict[str, Any]]
    annotations: list[list[dict[str, Any]]]

    def __len__(self) -> int:
        return len(self.images)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.folder / str(self.images[index]["file_name"])

    def read(self, index: int) -> Annotated:
        """An image's size and objects.

        Raises:
            DataError: a box or the mark of a crowd is none.
        """
        image = self.images[index]
        size = (image["width"], image["height"])
        return Annotated(self.path(index), size, tuple(self._object(one, size) for one in self.annotations[index]))

    def _object(self, one: dict[str, Any], size: tuple[int, int]) -> Object:
        x, y, wide, high = self.box(one)
        told = (x, y, x + wide, y + high)
        fitted = fit_box(self.call, self.where(one), told, size)
        name = self.classes[one["category_id"]]
        return Object(name, fitted, crowd=self.crowd(one), cut=reaches_far(told, size))

    def where(self, one: dict[str, Any]) -> str:
        """An annotation, for messages."""
        return f"{self.file}, annotation {one.get('id')} {self.classes[one['category_id']]!r}"

    def box(self, one: dict[str, Any]) -> list[float]:
        """x, y, width and height of an annotation, as they are in the file.

        Raises:
            DataError: they are not four numbers.
        """
        box = one.get("bbox")
        if isinstance(box, list) and len(box) == 4 and all(isinstance(edge, int | float) for edge in box):
            with suppress(OverflowError):
                return [float(edge) for edge in box]
        raise DataError(
            f"{self.call}: a box is x, y, width and height",
            got=f"{self.where(one)}: {box}",
            fix="mend or delete the object",
        )

    def crowd(self, one: dict[str, Any]) -> bool:
        """Whether an annotation is of a crowd; not, where nothing is told.

        Raises:
            DataError: it is told otherwise than by 0 or 1.
        """
        told = one.get("iscrowd", 0)
        if told not in (0, 1):
            raise DataError(
                f"{self.call}: 'iscrowd' is 0 or 1", got=f"{self.where(one)}: {told!r}", fix="mend or delete the object"
            )
        return bool(told)


def open_coco(call: str, file: Path) -> Coco:
    """What a file ``instances_*.json`` holds; no image is read. All of the file is held in memory but for
    the outlines of the objects: 1 GB at most for the 450 MB of train2017.

    The images lie as published, in ``images/PART`` or ``PART`` beside ``annotations``, or in ``images`` or next to the
    file: the first of these folders that has the first image is taken.

    Args:
        call: the call as the user wrote it, for messages.
        file: of the annotations.

    Raises:
        DataError: the file is no such file or has more than 1 GiB, an annotation is of an image or a category that it
            does not list, two entries have the same id, two categories the same name, or the images are nowhere.
        OSError: the system refuses.
    """
    content = _content(call, file)
    classes = {one["id"]: one["name"] for one in content["categories"]}
    places = {image["id"]: i for i, image in enumerate(content["images"])}
    annotations: list[list[dict[str, Any]]] = [[] for _ in places]
    for name, entries in content.items():
        twice = _twice(entries, "id")
        if twice is not None:
            raise _broken(call, file, f"two {name} have the same id, {twice!r}", "give each an id of its own")
    twice = _twice(content["categories"], "name")
    if twice is not None:
        same = " and ".join(repr(number) for number, name in classes.items() if name == twice)
        fix = "give each a name of its own, or make them one category"
        raise _broken(call, file, f"the categories {same} have the same name, {twice!r}", fix)
    for one in content["annotations"]:
        for key, known in (("image_id", places), ("category_id", classes)):
            if one[key] not in known:
                why = f"annotation {one.get('id')} has {key} {one[key]!r}, which is not listed"
                raise _broken(call, file, why, f"list that {key.removesuffix('_id')}, or delete the annotation")
        annotations[places[one["image_id"]]].append(one)
    if not places:
        raise _broken(call, file, "it lists no image", "list the images that are annotated")
    folder = _folder(call, file, content["images"][0]["file_name"])
    return Coco(call, file, folder, classes, content["images"], annotations)


def _content(call: str, file: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists of the file, each entry with what is used of it."""
    size = file.stat().st_size
    if size > _MOST:
        raise DataError(
            f"{call}: a file of annotations has at most {_MOST:,} bytes, for it is read whole",
            got=f"{file}: {size:,} bytes",
            fix="cut it into parts, or leave out what is none of images, categories and annotations",
        )
    try:
        content = json.loads(file.read_bytes(), object_hook=_without_outline)
    except (ValueError, RecursionError) as error:
        raise _broken(call, file, f"it is no JSON: {error}", "put the whole file there again") from None
    for name, keys in _KEYS.items():
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            fix = "name a file of instances, which has images, categories and annotations"
            raise _broken(call, file, f"it has no list of {name}", fix)
        for i, entry in enumerate(entries):
            wrong = [key for key, kind in keys.items() if not isinstance(entry, dict) or not _is(entry, key, kind)]
            if wrong:
                fix = f"write it there as {_KINDS[keys[wrong[0]]]}, or delete the entry"
                raise _broken(call, file, f"entry {i} of {name} has no valid {wrong[0]!r}", fix)
    return {name: content[name] for name in _KEYS}


def _without_outline(entry: dict[str, Any]) -> dict[str, Any]:
    """Called while the file is read: the outlines are most of it, and no one asks for them."""
    entry.pop("segmentation", None)
    return entry


def _twice(entries: list[dict[str, Any]], key: str) -> int | str | None:
    """The first id or name that a second entry has too; an entry of none is like no other."""
    seen: set[int | str] = set()
    for entry in entries:
        told = entry.get(key)
        if isinstance(told, int | str):
            if told in seen:
                return told
            seen.add(told)
    return None


def _is(entry: dict[str, Any], key: str, kind: Any) -> bool:
    return isinstance(entry.get(key), kind)


def _broken(call: str, file: Path, why: str, fix: str) -> DataError:
    return DataError(f"{call}: the annotations cannot be used", got=f"{file}: {why}", fix=fix)


def _folder(call: str, file: Path, first: str) -> Path:
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    part = file.stem.removeprefix("instances_")
    folders = [root / "images" / part, root / part, root / "images", root]
    for folder in folders:
        if (folder / first).is_file():
            return folder
    raise DataError(
        f"{call}: the images of these annotations are not beside them",
        got=f"{file}: no {first!r} in {', '.join(map(str, folders))}",
        fix=f"put them into {folders[0]}",
    )
