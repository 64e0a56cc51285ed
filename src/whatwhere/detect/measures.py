"""What is known of a detector's training: each epoch, an evaluation, and what came out in the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whatwhere.detect.coco_scores import CocoScores
from whatwhere.detect.voc_scores import VocScores

__all__ = ["DetectionEpoch", "Judged", "TrainedDetector", "deciding", "numbers", "per_class"]

_COCO = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
_RECALLS = ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


@dataclass(frozen=True)
class DetectionEpoch:
    """One epoch of a detector and how it went.

    Args:
        epoch: its number, counted from 1.
        lr: the learning rate of its last step.
        train_loss: mean over the images of the sum of all losses; the next three are its parts.
        train_classes: of the classes of boxes.
        train_boxes: of their places.
        train_proposals: of a proposal network, 0 where there is none.
        validation_ap: COCO's AP after the epoch; likewise ``validation_ap50`` and ``validation_ap75``.
        validation_ap50: at IoU 0.5.
        validation_ap75: at IoU 0.75.
        validation_voc07: mean AP by VOC2007's rule, where the data are VOC's; else None.
        seconds: of training; evaluation, writing and compiling are not in it.
        images_per_second: training images, of all processes, by ``seconds``.
        waiting: the fraction of ``seconds`` that the step waited for its images.
        peak_bytes: the most memory in use, as in ``Epoch``.
    """

    epoch: int
    lr: float
    train_loss: float
    train_classes: float
    train_boxes: float
    train_proposals: float
    validation_ap: float
    validation_ap50: float
    validation_ap75: float
    validation_voc07: float | None
    seconds: float
    images_per_second: float
    waiting: float | None = None
    peak_bytes: int | None = None

    @property
    def score(self) -> float:
        """What the best epoch is chosen by: VOC's figure for VOC's data, COCO's AP for all others."""
        return self.validation_ap if self.validation_voc07 is None else self.validation_voc07


@dataclass(frozen=True, eq=False)
class Judged:
    """COCO's and, for VOC's data, VOC's figures of what was found in a part."""

    coco: CocoScores
    voc: VocScores | None = None
    loss: float = 0.0  # an evaluation of detectors has none


@dataclass(frozen=True)
class TrainedDetector:
    """What came of a detector's trial.

    Args:
        measures: ``numbers`` of the test images, by the weights of the best epoch.
        per_class: for each class, in the order of labels, its publishers' number, AP, AP50 and how many objects there
            are; for VOC's data VOC's APs too.
        validation: what the best epoch was chosen by.
        best_epoch: from 1.
        epochs, train_seconds, images_per_second, waiting, peak_bytes: as in ``Trained``.
    """

    measures: Mapping[str, float | None]
    per_class: Mapping[str, Mapping[str, Any]]
    validation: float
    best_epoch: int
    epochs: int
    train_seconds: float
    images_per_second: float
    waiting: float | None = None
    peak_bytes: int | None = None


def deciding(measures: Mapping[str, Any]) -> str:
    """The name of the measure that arms are compared by: "voc07" where there is one, else "ap"."""
    return "voc07" if measures.get("voc07") is not None else "ap"


def numbers(judged: Judged) -> dict[str, float | None]:
    """COCO's twelve figures, and ``voc07`` and ``voc`` (all points) where the data are VOC's; shares in 0..1."""
    found = {name: getattr(judged.coco, name) for name in (*_COCO, *_RECALLS)}
    return found if judged.voc is None else {**found, "voc07": judged.voc.ap11, "voc": judged.voc.ap}


def per_class(judged: Judged, categories: Sequence[int]) -> dict[str, dict[str, Any]]:
    """For each class its publishers' number, how many objects there are, and its precisions in 0..1."""
    numbered = zip(judged.coco.per_class.items(), categories, strict=True)
    found: dict[str, dict[str, Any]] = {
        name: {"category": number, "objects": one.objects, "ap": one.ap, "ap50": one.ap50}
        for (name, one), number in numbered
    }
    for name, one in (judged.voc.per_class if judged.voc else {}).items():
        found[name] |= {"voc07": one.ap11, "voc": one.ap}
    return found
