"""Annotation as COCO publishes it: one JSON file for a whole part (Lin et al. 2014)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatwhere.data.annotations import Annotated, Object, fit_box
from whatwhere.errors import DataError

__all__ = ["Coco", "open_coco"]

_KEYS: dict[str, dict[str, Any]] = {
    "images": {"id": (int, str), "file_name": str, "width": int, "height": int},
    "categories": {"id": (int, str), "name": str},
    "annotations": {"image_id": (int, str), "category_id": (int, str)},
}
"""What is used of each list's entries, and of which kind it is."""


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
        """An image's size and objects; outlines are left unread.

        Raises:
            DataError: a box is none.
        """
        image = self.images[index]
        size = (image["width"], image["height"])
        return Annotated(self.path(index), size, tuple(self._object(one, size) for one in self.annotations[index]))

    def _object(self, one: dict[str, Any], size: tuple[int, int]) -> Object:
        name, box = self.classes[one["category_id"]], one.get("bbox")
        where = f"{self.file}, annotation {one.get('id')} {name!r}"
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(edge, int | float) for edge in box):
            raise DataError(
                f"{self.call}: a box is x, y, width and height", got=f"{where}: {box}", fix="mend or delete the object"
            )
        x, y, wide, high = map(float, box)
        fitted = fit_box(self.call, where, (x, y, x + wide, y + high), size)
        return Object(name, fitted, crowd=bool(one.get("iscrowd")))


def open_coco(call: str, file: Path) -> Coco:
    """What a file ``instances_*.json`` holds; no image is read. All of the file is held in memory.

    The images lie as published, in ``images/PART`` or ``PART`` beside ``annotations``, or in ``images`` or next to the
    file: the first of these folders that has the first image is taken.

    Args:
        call: the call as the user wrote it, for messages.
        file: of the annotations.

    Raises:
        DataError: the file is no such file, an annotation is of an image or a category that it does not list, or the
            images are nowhere.
        OSError: the system refuses.
    """
    content = _content(call, file)
    classes = {one["id"]: one["name"] for one in content["categories"]}
    places = {image["id"]: i for i, image in enumerate(content["images"])}
    annotations: list[list[dict[str, Any]]] = [[] for _ in places]
    if len(places) < len(content["images"]):
        raise _broken(call, file, "two images have the same id")
    for one in content["annotations"]:
        for key, known in (("image_id", places), ("category_id", classes)):
            if one[key] not in known:
                raise _broken(call, file, f"annotation {one.get('id')} has {key} {one[key]!r}, which is not listed")
        annotations[places[one["image_id"]]].append(one)
    if not places:
        raise _broken(call, file, "it lists no image")
    folder = _folder(call, file, content["images"][0]["file_name"])
    return Coco(call, file, folder, classes, content["images"], annotations)


def _content(call: str, file: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists of the file, each entry with what is used of it."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _broken(call, file, f"it is no JSON: {error}") from None
    for name, keys in _KEYS.items():
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise _broken(call, file, f"it has no list of {name}")
        for i, entry in enumerate(entries):
            wrong = [key for key, kind in keys.items() if not isinstance(entry, dict) or not _is(entry, key, kind)]
            if wrong:
                raise _broken(call, file, f"entry {i} of {name} has no valid {wrong[0]!r}")
    return {name: content[name] for name in _KEYS}


def _is(entry: dict[str, Any], key: str, kind: Any) -> bool:
    return isinstance(entry.get(key), kind)


def _broken(call: str, file: Path, why: str) -> DataError:
    return DataError(
        f"{call}: the annotations cannot be used",
        got=f"{file}: {why}",
        fix="name a whole file of instances",
    )


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
