"""Scores as rows of words, in per cent."""

from whatwhere.detect.coco_scores import CocoScores
from whatwhere.detect.voc_scores import VocScores

__all__ = ["coco_class_rows", "coco_rows", "voc_class_rows", "voc_rows"]

_ABSENT = "–"


def coco_rows(scores: CocoScores) -> list[tuple[str, str]]:
    """COCO's twelve numbers with their names."""
    values = {
        "AP": scores.ap,
        "AP50": scores.ap50,
        "AP75": scores.ap75,
        "AP small": scores.ap_small,
        "AP medium": scores.ap_medium,
        "AP large": scores.ap_large,
        "AR 1": scores.ar1,
        "AR 10": scores.ar10,
        "AR 100": scores.ar100,
        "AR small": scores.ar_small,
        "AR medium": scores.ar_medium,
        "AR large": scores.ar_large,
    }
    return [(name, _percent(value)) for name, value in values.items()]


def coco_class_rows(scores: CocoScores) -> list[tuple[str, str, str, str]]:
    """Of each class its name, its objects, AP and AP50."""
    return [(name, str(one.objects), _percent(one.ap), _percent(one.ap50)) for name, one in scores.per_class.items()]


def voc_rows(scores: VocScores) -> list[tuple[str, str]]:
    """VOC's two numbers with their names."""
    return [("mAP, 11 points", _percent(scores.ap11)), ("mAP, all points", _percent(scores.ap))]


def voc_class_rows(scores: VocScores) -> list[tuple[str, str, str, str]]:
    """Of each class its name, its objects, AP by eleven points and by all."""
    return [(name, str(one.objects), _percent(one.ap11), _percent(one.ap)) for name, one in scores.per_class.items()]


def _percent(share: float | None) -> str:
    return _ABSENT if share is None else f"{100 * share:.2f}"
