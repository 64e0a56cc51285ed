"""The parts of a COCO folder, packed."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whatwhere.data.annotations import fit_box
from whatwhere.data.coco import Coco, open_coco
from whatwhere.data.detection import Objects
from whatwhere.data.detection_parts import FilePart, find_files
from whatwhere.data.packed import pack, select
from whatwhere.errors import DataError

__all__ = ["coco_parts"]

_MANY = 0.1  # of the boxes
_LARGEST = 1 << 20  # rows or columns


def coco_parts(call: str, root: Path) -> tuple[tuple[str, ...], tuple[int, ...], FilePart, FilePart]:
    """Classes, their numbers, the part to learn from and the part to report, as ``annotations/instances_*.json`` say.

    Classes stand in the order of the training file. A box is cut to its image, over whose edge the published ones reach
    by a fraction of a pixel; objects of no area, of which the published set has a few, are left out and told in the
    part's notes.

    Args:
        call: the call as the user wrote it, for messages.
        root: the folder that holds ``annotations`` and the images.

    Raises:
        DataError: a file or an image is missing, the parts' categories differ, or an annotation is none.
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
    for number in learn.classes:
        if not isinstance(number, int):
            raise DataError(f"{call}: the id of a category is a whole number", got=f"{learn.file}: {number!r}")
    labels = {number: i for i, number in enumerate(learn.classes)}
    return tuple(learn.classes.values()), tuple(labels), _part(learn, labels), _part(report, labels)


def _file(call: str, root: Path, part: str) -> Path:
    files = sorted((root / "annotations").glob(f"instances_{part}*.json"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or ("none" if root.is_dir() else "no such folder")
        raise DataError(
            f"{call}: the folder must hold one 'annotations/instances_{part}*.json'",
            got=f"{root}: {found}",
            fix="name the folder above 'annotations', with one training and one validation file in it",
        )
    return files[0]


def _part(known: Coco, labels: dict[Any, int]) -> FilePart:
    for image in known.images:
        if not 0 < min(image["width"], image["height"]) <= max(image["width"], image["height"]) <= _LARGEST:
            raise DataError(
                f"{known.call}: an image has a width and a height",
                got=f"{known.file}, image {image['id']!r}: {image['width']} x {image['height']}",
                fix="mend or delete the image",
            )
    sizes = torch.tensor([(image["height"], image["width"]) for image in known.images])
    paths = [str(known.path(i)) for i in range(len(known))]
    find_files(known.call, known.file, paths)
    found = [(i, one) for i, of_image in enumerate(known.annotations) for one in of_image]
    entries, images = [one for _, one in found], torch.tensor([i for i, _ in found], dtype=torch.int64)
    boxes = _boxes(known, entries, sizes[images])
    told = (boxes[:, 2:] > boxes[:, :2]).all(1)
    objects = Objects(
        boxes,
        torch.tensor([labels[one["category_id"]] for one in entries], dtype=torch.int64),
        _areas(known, entries, boxes),
        torch.zeros(len(entries), dtype=torch.bool),
        torch.tensor([bool(one.get("iscrowd")) for one in entries], dtype=torch.bool),
    )
    packed = pack(select(objects, told), images[told], len(known))
    ids = [image["id"] for image in known.images]
    return FilePart(known.call, ids, paths, sizes, packed, _notes(known, entries, told))


def _boxes(known: Coco, entries: list[dict[str, Any]], sizes: Tensor) -> Tensor:
    """float32 (N, 4), corners, cut to their images; one without area is still there."""
    given = torch.tensor([known.box(one) for one in entries], dtype=torch.float64).view(-1, 4)
    corners = torch.cat((given[:, :2], given[:, :2] + given[:, 2:]), 1)
    limits = sizes.flip(1).repeat(1, 2)
    _check_format(known, given, corners, limits)
    cut = corners.clamp(min=0).minimum(limits.double())
    empty = (given[:, 2:] == 0).any(1)
    outside = ~empty & (cut[:, 2:] <= cut[:, :2]).any(1)
    wrong = ~corners.isfinite().all(1) | (given[:, 2:] < 0).any(1) | outside
    for i in wrong.nonzero().flatten().tolist():
        columns, rows = limits[i, :2].tolist()
        fit_box(known.call, known.where(entries[i]), corners[i].tolist(), (columns, rows))
    return cut.float()


def _check_format(known: Coco, given: Tensor, corners: Tensor, limits: Tensor) -> None:
    """Refuses corners where a corner, a width and a height are due: they would be cut, and pass."""
    over = (corners > limits + 1).any(1)
    fits = (given[:, 2:] > given[:, :2]) & (given[:, 2:] <= limits[:, 2:] + 1)
    if len(given) and over.double().mean() > _MANY and bool(fits.all()):
        raise DataError(
            f"{known.call}: the boxes look like x0, y0, x1, y1 where COCO has x, y, width, height",
            got=f"{known.file}: {int(over.sum()):,} of {len(given):,} boxes would reach over the edge of their image, "
            "and as corners all fit",
            fix="write width and height into 'bbox'",
        )


def _areas(known: Coco, entries: list[dict[str, Any]], boxes: Tensor) -> Tensor:
    """float32 (N,), of the outline; of the box where the file tells none."""
    of_box = (boxes[:, 2:] - boxes[:, :2]).prod(1).tolist()
    told = [one.get("area", area) for one, area in zip(entries, of_box, strict=True)]
    for one, area in zip(entries, told, strict=True):
        if not isinstance(area, int | float) or not 0 <= area <= _LARGEST**2:
            raise DataError(
                f"{known.call}: the area of an object is a number of square pixels",
                got=f"{known.where(one)}: {area!r}",
                fix="mend or delete the object",
            )
    return torch.tensor(told, dtype=torch.float32)


def _notes(known: Coco, entries: list[dict[str, Any]], told: Tensor) -> tuple[str, ...]:
    left = (~told).nonzero().flatten().tolist()
    if not left:
        return ()
    several = "an object" if len(left) == 1 else f"{len(left):,} objects"
    return (f"{known.file.name}: {several} of no area left out, annotation {entries[left[0]].get('id')} first",)
