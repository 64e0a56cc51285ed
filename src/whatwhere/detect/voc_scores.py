"""VOC's average precision, by the rule of 2007 and by that of 2010 and after (Everingham et al. 2010 and 2015)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from whatwhere.data.detection import DetectionPart, Objects
from whatwhere.detect.checking import check_found, check_truth
from whatwhere.detect.detections import Detections

__all__ = ["VocClass", "VocScores", "average_precision", "voc_scores"]

_NONE, _LEFT_OUT = -1, -2


@dataclass(frozen=True)
class VocClass:
    """Of one class: how many objects count, and average precision; None for a class without objects.

    Attributes:
        objects: those that are not difficult.
        ap11: at eleven recalls, the rule of VOC2007.
        ap: over all recalls, the rule since VOC2010.
    """

    objects: int
    ap11: float | None
    ap: float | None


@dataclass(frozen=True, eq=False)
class VocScores:
    """Means over the classes that have objects, as shares in 0..1, and each class.

    Attributes:
        ap11: mean average precision by the eleven points of VOC2007.
        ap: by all points.
        per_class: for each class, in the order of labels.
    """

    ap11: float
    ap: float
    per_class: Mapping[str, VocClass]


def voc_scores(
    truth: DetectionPart, found: Sequence[Detections], classes: Sequence[str], *, iou: float = 0.5
) -> VocScores:
    """How well the objects of a part were found, by VOC's rules.

    Detections of a class are gone through from the surest on, equals in the order of images and as they are given. Each
    is held to the object of its class and image that it overlaps most, the first of equals: a hit where the overlap is
    ``iou`` or more and the object is free, nothing where the object is difficult or a crowd, else a mistake. An object
    that is found twice is thus a hit and a mistake, even if another one lies near.

    The publishers' program adds a pixel to each side, as their far edges are inclusive and from 1; boxes here have
    exclusive far edges from 0 (xmin - 1, ymin - 1, xmax, ymax), so that plain areas are the same numbers.

    Args:
        truth: the part that was looked at; no image is read.
        found: what was found in each of its images, in its order; scores may be in any order.
        classes: the name of each label.
        iou: the overlap, intersection over union, that a hit has at least.

    Raises:
        DataError: there is no object to find, or one is of no class.
        RunError: ``found`` is not of all images, or holds what is no detection.
    """
    call = "voc_scores(truth, found)"
    known = check_truth(call, truth, classes, _counts)
    check_found(call, truth.ids, found, classes)
    firsts = np.cumsum([0, *(len(one) for one in known)])
    aims = np.concatenate([_aims(*each, iou) for each in zip(known, found, firsts[:-1], strict=True)])
    labels = torch.cat([one.labels for one in found]).numpy()
    scores = torch.cat([one.scores for one in found]).numpy()
    objects = torch.cat([one.labels[_counts(one)] for one in known]).bincount(minlength=len(classes)).tolist()
    per_class = {}
    for label, name in enumerate(classes):
        mine = labels == label
        surest = np.argsort(-scores[mine], kind="stable")
        ap11, ap = average_precision(_hits(aims[mine][surest]), objects[label]) if objects[label] else (None, None)
        per_class[name] = VocClass(objects[label], ap11, ap)
    ap11s = [one.ap11 for one in per_class.values() if one.ap11 is not None]
    aps = [one.ap for one in per_class.values() if one.ap is not None]
    return VocScores(fmean(ap11s), fmean(aps), per_class)


def average_precision(hits: np.ndarray, objects: int) -> tuple[float, float]:
    """At eleven points and over all.

    Eleven points: the mean, over the recalls 0, 0.1, ..., 1, of the highest precision at that recall or a higher one,
    0 where there is none. All points: the area under that highest precision, as a function of recall.

    Args:
        hits: bool (n,), of the detections of one class from the surest on; the others are mistakes.
        objects: how many there are to find, at least one.
    """
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    # recall >= tenth / 10, in whole numbers: 3 of 10 objects do reach 0.3
    points = [highest[10 * right >= tenth * objects][:1].sum() for tenth in range(11)]
    return float(np.sum(points) / 11), float(highest[hits].sum() / objects)


def _counts(one: Objects) -> Tensor:
    return ~(one.difficult | one.crowd)


def _aims(objects: Objects, found: Detections, first: int, iou: float) -> np.ndarray:
    """For each detection of an image the object it hits, counted from ``first``; or that it hits none, or a difficult.

    int64 (n,).
    """
    if not len(objects) or not len(found):
        return np.full(len(found), _NONE)
    overlaps = _overlaps(found.boxes.double(), objects.boxes.double())
    overlaps[found.labels[:, None] != objects.labels] = -1
    most, best = (each.numpy() for each in overlaps.max(1))
    aims = np.where(_counts(objects).numpy()[best], first + best, _LEFT_OUT)
    return np.where(most >= iou, aims, _NONE)


def _overlaps(some: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, (n, m); 0 where both have no area."""
    low = torch.maximum(some[:, None, :2], others[:, :2])
    high = torch.minimum(some[:, None, 2:], others[:, 2:])
    common = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (some, others)]
    return common / (areas[0][:, None] + areas[1] - common).clamp(min=torch.finfo(torch.float64).tiny)


def _hits(aims: np.ndarray) -> np.ndarray:
    """bool, which of the detections that count, surest first, are the first on an object that counts."""
    aims = aims[aims != _LEFT_OUT]
    first = np.zeros(len(aims), dtype=bool)
    first[np.unique(aims, return_index=True)[1]] = True
    first[aims == _NONE] = False
    return first
