"""COCO's twelve numbers (Lin et al. 2014), counted by faster-coco-eval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatwhere.data.detection import DetectionPart, Objects
from whatwhere.detect.checking import check_found, check_truth
from whatwhere.detect.curves import Curves
from whatwhere.detect.detections import Detections

__all__ = ["ClassScores", "CocoScores", "coco_scores"]

# Where things lie in the arrays: IoUs 0.5, 0.55, ..., 0.95; areas; detections a class and image.
_IOU50, _IOU75 = 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_ONE, _TEN, _HUNDRED = range(3)


@dataclass(frozen=True)
class ClassScores:
    """Of one class: how many objects count, and the average precision over IoUs 0.5 to 0.95, and at 0.5.

    Both are None for a class without objects.
    """

    objects: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True, eq=False)
class CocoScores:
    """Shares in 0..1, each a mean over the classes that have objects; None where no object is of that size.

    Attributes:
        ap: average precision, at 101 recalls, over the IoUs 0.5, 0.55, ..., 0.95.
        ap50: at IoU 0.5.
        ap75: at IoU 0.75.
        ap_small: of objects under 32 x 32 pixels.
        ap_medium: of those up to 96 x 96 pixels.
        ap_large: of larger ones.
        ar1: the highest recall with one detection for each image and class, over the same IoUs.
        ar10: with ten.
        ar100: with a hundred.
        ar_small: with a hundred, of small objects.
        ar_medium: of medium ones.
        ar_large: of large ones.
        per_class: for each class, in the order of labels.
        curves: precision over recall, at IoU 0.5 and 0.75.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    per_class: Mapping[str, ClassScores]
    curves: Curves


def coco_scores(truth: DetectionPart, found: Sequence[Detections], classes: Sequence[str]) -> CocoScores:
    """How well the objects of a part were found, by COCO's rules.

    Of each image and class the hundred surest detections count. What lies in a crowd is no mistake. That an object is
    difficult is of no account here: it is VOC's. 5,000 images with 100 detections each take some ten seconds of one
    core and 1.2 GiB.

    Args:
        truth: the part that was looked at; no image is read.
        found: what was found in each of its images, in its order; scores may be in any order.
        classes: the name of each label.

    Raises:
        DataError: there is no object to find, or one is of no class.
        RunError: ``found`` is not of all images, or holds what is no detection.
    """
    call = "coco_scores(truth, found)"
    known = check_truth(call, truth, classes, _counts)
    check_found(call, truth.ids, found, classes)
    precision, recall = _counted(known, found, classes)
    objects = torch.cat([one.labels[_counts(one)] for one in known]).bincount(minlength=len(classes)).tolist()
    every = precision[..., _ALL, _HUNDRED]
    per_class = {
        name: ClassScores(objects[k], _mean(every[:, :, k]), _mean(every[_IOU50, :, k]))
        for k, name in enumerate(classes)
    }
    curves = {iou: _with_nan(every[place]) for iou, place in ((0.5, _IOU50), (0.75, _IOU75))}
    return CocoScores(
        ap=_mean(every),
        ap50=_mean(every[_IOU50]),
        ap75=_mean(every[_IOU75]),
        ap_small=_mean(precision[..., _SMALL, _HUNDRED]),
        ap_medium=_mean(precision[..., _MEDIUM, _HUNDRED]),
        ap_large=_mean(precision[..., _LARGE, _HUNDRED]),
        ar1=_mean(recall[..., _ALL, _ONE]),
        ar10=_mean(recall[..., _ALL, _TEN]),
        ar100=_mean(recall[..., _ALL, _HUNDRED]),
        ar_small=_mean(recall[..., _SMALL, _HUNDRED]),
        ar_medium=_mean(recall[..., _MEDIUM, _HUNDRED]),
        ar_large=_mean(recall[..., _LARGE, _HUNDRED]),
        per_class=per_class,
        curves=Curves(tuple(classes), curves),
    )


def _counts(one: Objects) -> Tensor:
    return ~one.crowd


def _counted(
    known: Sequence[Objects], found: Sequence[Detections], classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (IoUs, recalls, classes, areas, most) and recall (IoUs, classes, areas, most); -1 where undefined."""
    from faster_coco_eval import COCO, COCOeval_faster

    common: dict[str, Any] = {
        "images": [{"id": index} for index in range(len(known))],
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes)],
    }
    objects = _entries(known, area=(one.areas for one in known), iscrowd=(one.crowd.int() for one in known))
    detections = _entries(found, area=(_areas(one.boxes) for one in found), score=(one.scores for one in found))
    scorer = COCOeval_faster(
        COCO({**common, "annotations": objects}, print_function=_quiet),
        COCO({**common, "annotations": detections}, print_function=_quiet),
        "bbox",
        print_function=_quiet,
    )
    scorer.evaluate()
    scorer.accumulate()
    return scorer.eval["precision"], scorer.eval["recall"]


def _entries(images: Sequence[Objects | Detections], **columns: Iterable[Tensor]) -> list[dict[str, Any]]:
    """All rows as entries of an annotation file; numbered from 1, since 0 would mean no match."""
    names = ("id", "image_id", "category_id", "bbox", *columns)
    boxes = torch.cat([one.boxes for one in images]).double()
    boxes[:, 2:] -= boxes[:, :2]
    places = torch.arange(len(images)).repeat_interleave(torch.tensor([len(one) for one in images]))
    labels = torch.cat([one.labels for one in images])
    others = (torch.cat(list(column)).tolist() for column in columns.values())
    rows = zip(range(1, len(boxes) + 1), places.tolist(), labels.tolist(), boxes.tolist(), *others, strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _areas(boxes: Tensor) -> Tensor:
    wide = boxes.double()
    return (wide[:, 2:] - wide[:, :2]).prod(1)


def _mean(values: np.ndarray) -> float | None:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _with_nan(precision: np.ndarray) -> Tensor:
    """From (recalls, classes) with -1 to (classes, recalls) with NaN."""
    return torch.from_numpy(np.where(precision > -1, precision, np.nan).T.astype(np.float32))


def _quiet(*words: object) -> None:
    """In the place of ``print``."""
