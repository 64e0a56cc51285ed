"""What COCO and VOC say of a detector, as tables."""

from collections.abc import Mapping
from typing import Any

__all__ = ["show"]

_NAMES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
    "ar1": "AR 1",
    "ar10": "AR 10",
    "ar100": "AR 100",
    "ar_small": "AR small",
    "ar_medium": "AR medium",
    "ar_large": "AR large",
    "voc07": "VOC07 mAP",
    "voc": "VOC mAP, all points",
}


def show(measures: Mapping[str, float | None], per_class: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the figures of all classes together, then each class's, in percent.

    Args:
        measures: as ``detect.numbers`` gives them.
        per_class: for each class ``objects`` and some of the measures.
    """
    from whatwhere.experiments.grid import Grid

    columns = [name for name in _NAMES if name in measures]
    heads = tuple(_NAMES[name] for name in columns)
    Grid(heads, [tuple(_percent(measures[name]) for name in columns)], frozenset()).show()
    print()
    of_class = [name for name in _NAMES if any(name in one for one in per_class.values())]
    rows = [
        (name, f"{one['objects']:,}", *(_percent(one.get(measure)) for measure in of_class))
        for name, one in per_class.items()
    ]
    heads = ("class", "objects", *(_NAMES[name] for name in of_class))
    note = "Percent. AP: COCO's average precision over IoUs 0.5 to 0.95; a class without objects has none."
    Grid(heads, rows, frozenset({"class"}), [note]).show()


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"
