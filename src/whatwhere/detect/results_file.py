"""What was found, as COCO's results files have it: a JSON list with an entry for each detection."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from whatwhere.data.detection import DetectionPart
from whatwhere.detect.checking import check_found
from whatwhere.detect.detections import Detections
from whatwhere.errors import DataError, closest
from whatwhere.files import replace_file

__all__ = ["read_results", "write_results"]

_KEYS = ("image_id", "category_id", "bbox", "score")
_FAR = torch.finfo(torch.float32).max / 2
_LARGEST = 2**30


def write_results(path: Path, ids: Sequence[int | str], found: Sequence[Detections], categories: Sequence[int]) -> None:
    """Write a results file in one step: boxes as x, y, width and height to a hundredth of a pixel, scores to 1e-5.

    Args:
        path: of the file.
        ids: of the images.
        found: what was found in each of them, in their order.
        categories: the publishers' number of each label.

    Raises:
        RunError: ``found`` is not of all images, or holds what is no detection.
        OSError: the system refuses.
    """
    check_found("write_results(path, ids, found)", ids, found, [str(number) for number in categories])
    entries = []
    for image, one in zip(ids, found, strict=True):
        wide = one.boxes.double()
        boxes = torch.cat([wide[:, :2], wide[:, 2:] - wide[:, :2]], 1)
        for box, label, score in zip(boxes.tolist(), one.labels.tolist(), one.scores.tolist(), strict=True):
            corner = [round(edge, 2) for edge in box]
            entries.append(dict(zip(_KEYS, (image, categories[label], corner, round(score, 5)), strict=True)))
    replace_file(path, json.dumps(entries, separators=(",", ":")).encode())


def read_results(path: Path, part: DetectionPart, categories: Sequence[int]) -> list[Detections]:
    """What a results file says was found in each image of a part, surest first, equals in the order of the file.

    An image that the file does not name has empty `Detections`: such files tell nothing of images in which nothing was
    found, so that it cannot be seen whether one was forgotten.

    Args:
        path: of the file.
        part: the images that it may name.
        categories: the publishers' number of each label.

    Raises:
        DataError: the file is no such file, is larger than 1 GiB, or names an image or a category that there is not.
        OSError: the system refuses.
    """
    call = f"read_results({str(path)!r})"
    places = {image: index for index, image in enumerate(part.ids)}
    labels = {number: label for label, number in enumerate(categories)}
    rows: list[list[tuple[float, ...]]] = [[] for _ in places]
    for index, entry in enumerate(_entries(call, path)):
        wrong = _wrong(entry, places, labels)
        if wrong:
            rule, got, near = wrong
            raise DataError(f"{call}: {rule}", got=f"entry {index}: {got}", closest=near, fix=_FIX)
        x, y, wide, high = entry["bbox"]
        row = (entry["score"], labels[entry["category_id"]], x, y, x + wide, y + high)
        rows[places[entry["image_id"]]].append(row)
    return [_detections(one) for one in rows]


_FIX = "name the results of these very images, as COCO's results files have them"


def _entries(call: str, path: Path) -> list[Any]:
    if path.stat().st_size > _LARGEST:
        raise DataError(
            f"{call}: a results file has 1 GiB at most",
            got=f"{path.stat().st_size} bytes",
            fix="keep the hundred surest detections of each image",
        )
    try:
        entries = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{call}: it is no JSON, or is cut off", got=str(error), fix="write it anew") from None
    if not isinstance(entries, list):
        raise DataError(f"{call}: a results file is a list", got=type(entries).__name__, fix=_FIX)
    if not entries:
        raise DataError(f"{call}: it has no detection, so that nothing can be scored", got="[]", fix=_FIX)
    return entries


def _wrong(entry: Any, places: dict[Any, int], labels: dict[Any, int]) -> tuple[str, str, Sequence[str]] | None:
    """The rule that an entry breaks, what was got, and names that are like it."""
    missing = [key for key in _KEYS if key not in entry] if isinstance(entry, dict) else list(_KEYS)
    if missing:
        return f"an entry has {', '.join(_KEYS)}", f"no {missing[0]} in {str(entry)[:80]}", ()
    image, category, box, score = (entry[key] for key in _KEYS)
    if not _is_name(image) or image not in places:
        return "an image is one of the part", f"image_id {image!r}", closest(str(image), map(str, places))
    if not _is_name(category) or category not in labels:
        known = ", ".join(map(str, labels))
        return f"a category is one of {known}", f"category_id {category!r}", ()
    if not (isinstance(box, list) and len(box) == 4 and all(_within(edge, -_FAR, _FAR) for edge in box)):
        return "bbox is x, y, width and height, four finite numbers", f"bbox {str(box)[:80]}", ()
    if min(box[2:]) < 0:
        return "width and height are not negative", f"bbox {box}", ()
    if not _within(score, 0, 1):
        return "a score is a number from 0 to 1", f"score {score!r}", ()
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _within(value: Any, low: float, high: float) -> bool:
    """Whether it is a number, which true and NaN are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _detections(rows: list[tuple[float, ...]]) -> Detections:
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 6)
    table = table[table[:, 0].argsort(descending=True, stable=True)]
    return Detections(table[:, 2:].float(), table[:, 1].long(), table[:, 0].float())
