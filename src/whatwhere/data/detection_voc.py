"""The parts of a VOC devkit, packed."""

from pathlib import Path

import torch

from whatwhere.data.annotations import Annotated
from whatwhere.data.detection import Objects
from whatwhere.data.detection_parts import FilePart, find_files
from whatwhere.data.packed import pack
from whatwhere.data.voc import Voc, open_voc
from whatwhere.errors import DataError, closest

__all__ = ["VOC_CLASSES", "voc_parts"]

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""In the order of the devkit (Everingham et al. 2010, table 1, by name)."""
_YEARS = ("VOC2007", "VOC2012")


def voc_parts(call: str, root: Path) -> tuple[tuple[str, ...], FilePart, FilePart]:
    """Classes, the part to learn from and the part to report.

    ``trainval`` of both years is learnt from and ``test`` of the first is reported; where that year has no list of test
    images, ``train`` is learnt from and ``val`` of the first reported. Every annotation is read: 5,000 files a second.

    Args:
        call: the call as the user wrote it, for messages.
        root: ``VOCdevkit``, with a folder for 2007, 2012 or both, or one such folder, of any name.

    Raises:
        DataError: a list, an annotation or an image is missing, an annotation is none, an image is in both parts, or a
            class is in the reported part only.
        OSError: the system refuses.
    """
    years = [root / year for year in _YEARS if (root / year).is_dir()] or [root]
    tested = (years[0] / "ImageSets" / "Main" / "test.txt").is_file()
    learn = [open_voc(call, year, "trainval" if tested else "train") for year in years]
    report = [open_voc(call, years[0], "test" if tested else "val")]
    _check_listed_once(call, [*learn, *report])
    taught, asked = ([voc.read(i) for voc in part for i in range(len(voc))] for part in (learn, report))
    names = {one.name for image in taught for one in image.objects}
    classes = VOC_CLASSES if names <= set(VOC_CLASSES) else tuple(sorted(names))
    return classes, _part(call, learn, taught, classes), _part(call, report, asked, classes)


def _check_listed_once(call: str, lists: list[Voc]) -> None:
    """An image that is learnt from is not reported, and none counts twice."""
    seen: set[Path] = set()
    for part in lists:
        for i, name in enumerate(part.ids):
            if part.path(i) in seen:
                raise DataError(
                    f"{call}: an image is listed once, in one part only",
                    got=f"{name!r} is listed twice in {part.root / 'ImageSets' / 'Main'}",
                    fix="take it out of one list",
                )
            seen.add(part.path(i))


def _part(call: str, lists: list[Voc], images: list[Annotated], classes: tuple[str, ...]) -> FilePart:
    paths = [str(image.path) for image in images]
    find_files(call, lists[0].root / "ImageSets" / "Main", paths)
    found = [(i, one) for i, image in enumerate(images) for one in image.objects]
    labels = {name: i for i, name in enumerate(classes)}
    for i, one in found:
        if one.name not in labels:
            raise DataError(
                f"{call}: the part to report has a class that the part to learn from has not",
                got=f"{one.name!r} in the annotation of {paths[i]}",
                closest=closest(one.name, classes),
                fix="mend the name, or teach the class",
            )
    boxes = torch.tensor([one.box for _, one in found]).view(-1, 4)
    objects = Objects(
        boxes,
        torch.tensor([labels[one.name] for _, one in found], dtype=torch.int64),
        (boxes[:, 2:] - boxes[:, :2]).prod(1),
        torch.tensor([one.difficult for _, one in found], dtype=torch.bool),
        torch.zeros(len(found), dtype=torch.bool),
    )
    packed = pack(objects, torch.tensor([i for i, _ in found], dtype=torch.int64), len(images))
    sizes = torch.tensor([(rows, columns) for columns, rows in (image.size for image in images)])
    return FilePart(call, [name for part in lists for name in part.ids], paths, sizes, packed)
