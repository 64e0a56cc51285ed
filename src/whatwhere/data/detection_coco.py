"""The parts of a COCO folder, packed."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whatwhere.data.annotations import LARGEST_SIDE, MOST_BOXES, check_pixels, fit_box, reaches_far
from whatwhere.data.coco import Coco, open_coco
from whatwhere.data.detection import Objects
from whatwhere.data.detection_parts import FilePart, find_files
from whatwhere.data.packed import pack, select
from whatwhere.errors import DataError

__all__ = ["coco_parts", "coco_test"]

_MANY = 0.1  # of the boxes


def coco_parts(call: str, root: Path) -> tuple[tuple[str, ...], tuple[int, ...], FilePart, FilePart]:
    """Classes, their numbers, the part to learn from and the part to report, as ``annotations/instances_*.json`` say.

    Classes stand in the order of their numbers. A box is cut to its image, over whose edge the published ones reach
    by a fraction of a pixel; objects of no area, of which the published set has a few, are left out. The part's notes
    tell of those, and of boxes that reached far over the edge.

    Args:
        call: the call as the user wrote it, for messages.
        root: the folder that holds ``annotations`` and the images.

    Raises:
        DataError: a file or an image is missing, the parts' categories differ, an image file is listed twice, or an
            annotation is none.
        OSError: the system refuses.
    """
    learn, report = (open_coco(call, _file(call, root, part)) for part in ("train", "val"))
    if learn.classes != report.classes:
        odd = dict(sorted(learn.classes.items() ^ report.classes.items(), key=str))
        number, name = next(iter(odd.items()))
        raise DataError(
            f"{call}: both parts must list the same categories",
            got=f"{learn.file.name!r} and {report.file.name!r} differ in {len(odd)}, such as {number!r} {name!r}",
            fix="give both files one list of categories",
        )
    _check_listed_once(call, [learn, report])
    labels = _labels(learn)
    return _names(learn, labels), tuple(labels), _part(learn, labels), _part(report, labels)


def coco_test(call: str, root: Path) -> tuple[tuple[str, ...], tuple[int, ...], FilePart]:
    """Classes, their numbers and the part to report, as `coco_parts` has them; nothing of the other part is looked at.

    Args:
        call: the call as the user wrote it, for messages.
        root: the folder that holds ``annotations`` and the images.

    Raises:
        DataError: a file or an image is missing, an image file is listed twice, or an annotation is none.
        OSError: the system refuses.
    """
    report = open_coco(call, _file(call, root, "val"))
    _check_listed_once(call, [report])
    labels = _labels(report)
    return _names(report, labels), tuple(labels), _part(report, labels)


def _labels(known: Coco) -> dict[int, int]:
    """The label of each category id."""
    for number in known.classes:
        if not isinstance(number, int):
            raise DataError(
                f"{known.call}: the id of a category is a whole number",
                got=f"{known.file}: {number!r}",
                fix="number the categories, and give the annotations those numbers",
            )
    return {number: i for i, number in enumerate(sorted(known.classes))}


def _names(known: Coco, labels: dict[int, int]) -> tuple[str, ...]:
    return tuple(known.classes[number] for number in labels)


def _check_listed_once(call: str, parts: list[Coco]) -> None:
    """A file that is learnt from is not reported, and none counts twice."""
    seen: dict[str, tuple[str, int | str]] = {}
    for part in parts:
        folder = os.path.realpath(part.folder)
        for image in part.images:
            path = os.path.normpath(os.path.join(folder, image["file_name"]))
            entry = part.file.name, image["id"]
            before = seen.setdefault(path, entry)
            if before != entry:
                raise DataError(
                    f"{call}: an image file is listed once, in one part only",
                    got=f"{path} is image {before[1]!r} of {before[0]!r} and image {entry[1]!r} of {entry[0]!r}",
                    fix="take it out of one list",
                )


def _file(call: str, root: Path, part: str) -> Path:
    files = sorted((root / "annotations").glob(f"instances_{part}*.json"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or ("none" if root.is_dir() else "no such folder")
        raise DataError(
            f"{call}: the folder must hold one 'annotations/instances_{part}*.json'",
            got=f"{root}: {found}",
            fix="name the folder above 'annotations', and leave one such file in that",
        )
    return files[0]


def _part(known: Coco, labels: dict[int, int]) -> FilePart:
    for image in known.images:
        if not 0 < min(image["width"], image["height"]) <= max(image["width"], image["height"]) <= LARGEST_SIDE:
            raise DataError(
                f"{known.call}: the sides of an image are whole numbers from 1 to {LARGEST_SIDE:,}",
                got=f"{known.file}, image {image['id']!r}: {image['width']} x {image['height']}",
                fix="mend or delete the image",
            )
    sizes = torch.tensor([(image["height"], image["width"]) for image in known.images])
    paths = [str(known.path(i)) for i in range(len(known))]
    find_files(known.call, known.file, paths)
    found = [(i, one) for i, of_image in enumerate(known.annotations) for one in of_image]
    entries, images = [one for _, one in found], torch.tensor([i for i, _ in found], dtype=torch.int64)
    boxes, far = _boxes(known, entries, sizes[images])
    told = (boxes[:, 2:] > boxes[:, :2]).all(1)
    objects = Objects(
        boxes,
        torch.tensor([labels[one["category_id"]] for one in entries], dtype=torch.int64),
        _areas(known, entries, boxes),
        torch.zeros(len(entries), dtype=torch.bool),
        torch.tensor([known.crowd(one) for one in entries], dtype=torch.bool),
    )
    packed = pack(select(objects, told), images[told], len(known))
    ids = [image["id"] for image in known.images]
    return FilePart(known.call, ids, paths, sizes, packed, _notes(known, entries, told, far))


def _boxes(known: Coco, entries: list[dict[str, Any]], sizes: Tensor) -> tuple[Tensor, list[int]]:
    """float32 (N, 4), corners, cut to their images; one without area is still there. And which were cut by much."""
    given = torch.tensor([known.box(one) for one in entries], dtype=torch.float64).view(-1, 4)
    corners = torch.cat((given[:, :2], given[:, :2] + given[:, 2:]), 1)
    limits = sizes.flip(1).repeat(1, 2)
    check_pixels(known.call, str(known.file), given, sizes)
    _check_format(known, given, corners, limits)
    cut = corners.clamp(min=0).minimum(limits.double())
    empty = (given[:, 2:] == 0).any(1)
    outside = ~empty & (cut[:, 2:] <= cut[:, :2]).any(1)
    wrong = ~corners.isfinite().all(1) | (given[:, 2:] < 0).any(1) | outside
    for i in wrong.nonzero().flatten().tolist():
        columns, rows = limits[i, :2].tolist()
        fit_box(known.call, known.where(entries[i]), corners[i].tolist(), (columns, rows))
    over = (~empty & (cut != corners).any(1)).nonzero().flatten().tolist()
    return cut.float(), [i for i in over if reaches_far(corners[i].tolist(), limits[i, :2].tolist())]


def _check_format(known: Coco, given: Tensor, corners: Tensor, limits: Tensor) -> None:
    """Refuses corners where a corner, a width and a height are due: they would be cut, and pass."""
    over = (corners > limits + 1).any(1)
    fits = ((given[:, 2:] > given[:, :2]) & (given[:, 2:] <= limits[:, 2:] + 1)).all(1)
    if len(given) and over.double().mean() > _MANY and fits.double().mean() >= MOST_BOXES:
        raise DataError(
            f"{known.call}: the boxes look like x0, y0, x1, y1 where COCO has x, y, width, height",
            got=f"{known.file}: {int(over.sum()):,} of {len(given):,} boxes would reach over the edge of their image, "
            f"and {int(fits.sum()):,} fit as corners",
            fix="write width and height into 'bbox'",
        )


def _areas(known: Coco, entries: list[dict[str, Any]], boxes: Tensor) -> Tensor:
    """float32 (N,), of the outline; of the box where the file tells none."""
    of_box = (boxes[:, 2:] - boxes[:, :2]).prod(1).tolist()
    told = [one.get("area", area) for one, area in zip(entries, of_box, strict=True)]
    for one, area in zip(entries, told, strict=True):
        if not isinstance(area, int | float) or not 0 <= area <= LARGEST_SIDE**2:
            raise DataError(
                f"{known.call}: the area of an object is a number of square pixels",
                got=f"{known.where(one)}: {area!r}",
                fix="mend or delete the object",
            )
    return torch.tensor(told, dtype=torch.float32)


def _notes(known: Coco, entries: list[dict[str, Any]], told: Tensor, far: list[int]) -> tuple[str, ...]:
    left = (~told).nonzero().flatten().tolist()
    kinds = (
        (left, "an object", "objects", "of no area left out"),
        (far, "a box", "boxes", "cut that reached far over the edge"),
    )
    return tuple(
        f"{known.file.name}: {one if len(which) == 1 else f'{len(which):,} {more}'} {done}, "
        f"annotation {entries[which[0]].get('id')} first"
        for which, one, more, done in kinds
        if which
    )
