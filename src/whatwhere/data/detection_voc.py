"""The parts of a VOC devkit, packed."""

from difflib import get_close_matches
from pathlib import Path

import torch

from whatwhere.data.annotations import Annotated, Object, check_pixels
from whatwhere.data.detection import Objects
from whatwhere.data.detection_parts import FilePart, find_files
from whatwhere.data.packed import pack
from whatwhere.data.voc import Voc, open_voc
from whatwhere.errors import DataError, closest

__all__ = ["VOC_CLASSES", "voc_parts", "voc_test"]

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""In the order of the devkit (Everingham et al. 2010, table 1, by name)."""
_ALIKE = 0.8
"""Of 1, as difflib has it: 'caat' and 'Cat' are 'cat', and 'goat' is not 'boat'."""
_YEARS = ("VOC2007", "VOC2012")


def voc_parts(call: str, root: Path) -> tuple[tuple[str, ...], tuple[int, ...], FilePart, FilePart]:
    """Classes, their numbers (1, 2, ...), the part to learn from and the part to report.

    ``trainval`` of both years is learnt from and ``test`` of the first is reported; where that year has no list of test
    images, ``train`` is learnt from and ``val`` of the first reported. Every annotation is read: 5,000 files a second.

    Args:
        call: the call as the user wrote it, for messages.
        root: ``VOCdevkit``, with a folder for 2007, 2012 or both, or one such folder, of any name.

    Raises:
        DataError: a list, an annotation or an image is missing, an annotation is none, an image is in both parts, a
            class is in the reported part only, or one is called nearly as one of VOC's among classes of VOC.
        OSError: the system refuses.
    """
    years, taught, asked = _years(root)
    learn, report = [open_voc(call, year, taught) for year in years], [open_voc(call, years[0], asked)]
    _check_listed_once(call, [*learn, *report])
    learnt = _read(learn)
    classes = _classes(call, learnt)
    return classes, _numbers(classes), _part(call, learn, learnt, classes), _part(call, report, _read(report), classes)


def voc_test(call: str, root: Path) -> tuple[tuple[str, ...], tuple[int, ...], FilePart]:
    """Classes, their numbers and the part to report, as `voc_parts` has them, without any image of the other part.

    Annotations of the images to learn from are read where a list names them, for the classes are theirs; without such
    a list they are those of the part to report.

    Args:
        call: the call as the user wrote it, for messages.
        root: as in `voc_parts`.

    Raises:
        DataError: a list, an annotation or an image is missing, an annotation is none, an image is in both parts, a
            class is in the reported part only, or one is called nearly as one of VOC's among classes of VOC.
        OSError: the system refuses.
    """
    years, taught, asked = _years(root)
    learn = [open_voc(call, year, taught) for year in years if _list(year, taught).is_file()]
    report = [open_voc(call, years[0], asked)]
    _check_listed_once(call, [*learn, *report])
    images = _read(report)
    classes = _classes(call, _read(learn) or images)
    return classes, _numbers(classes), _part(call, report, images, classes)


def _years(root: Path) -> tuple[list[Path], str, str]:
    """The folders of the years, and the lists of what is learnt from and of what is reported."""
    years = [root / year for year in _YEARS if (root / year).is_dir()] or [root]
    return years, *(("trainval", "test") if _list(years[0], "test").is_file() else ("train", "val"))


def _list(year: Path, part: str) -> Path:
    return year / "ImageSets" / "Main" / f"{part}.txt"


def _read(lists: list[Voc]) -> list[Annotated]:
    return [voc.read(i) for voc in lists for i in range(len(voc))]


def _classes(call: str, images: list[Annotated]) -> tuple[str, ...]:
    names = {one.name for image in images for one in image.objects}
    _check_names(call, names, images)
    return VOC_CLASSES if names <= set(VOC_CLASSES) else tuple(sorted(names))


def _numbers(classes: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(range(1, len(classes) + 1))


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


def _check_names(call: str, names: set[str], images: list[Annotated]) -> None:
    """A slip of the pen in one of VOC's names is no class, for with it the set would no longer have VOC's 20."""
    odd = names.difference(VOC_CLASSES)
    meant = {name: get_close_matches(name.lower(), VOC_CLASSES, 1, cutoff=_ALIKE) for name in odd}
    if odd == names or not all(meant.values()):
        return
    for image in images:
        for number, one in enumerate(image.objects, start=1):
            if one.name in odd:
                raise DataError(
                    f"{call}: the classes are VOC's but for names that are nearly VOC's",
                    got=f"{one.name!r}, object {number} in the annotation of {image.path}",
                    closest=meant[one.name],
                    fix="mend the name, or give a class of your own one that is less like VOC's",
                )


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
    owners = torch.tensor([i for i, _ in found], dtype=torch.int64)
    boxes = torch.tensor([one.box for _, one in found]).view(-1, 4)
    sizes = torch.tensor([(rows, columns) for columns, rows in (image.size for image in images)])
    check_pixels(call, str(lists[0].root / "Annotations"), boxes, sizes[owners])
    objects = Objects(
        boxes,
        torch.tensor([labels[one.name] for _, one in found], dtype=torch.int64),
        (boxes[:, 2:] - boxes[:, :2]).prod(1),
        torch.tensor([one.difficult for _, one in found], dtype=torch.bool),
        torch.zeros(len(found), dtype=torch.bool),
    )
    ids = [name for part in lists for name in part.ids]
    return FilePart(call, ids, paths, sizes, pack(objects, owners, len(images)), _notes(paths, found))


def _notes(paths: list[str], found: list[tuple[int, Object]]) -> tuple[str, ...]:
    far = [i for i, one in found if one.cut]
    if not far:
        return ()
    several = "a box" if len(far) == 1 else f"{len(far):,} boxes"
    return (f"{several} cut that reached far over the edge, the first in the annotation of {paths[far[0]]}",)
