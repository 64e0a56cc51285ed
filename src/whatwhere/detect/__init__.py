"""Detectors: building them, training them, and what COCO and VOC say of what they find."""

from whatwhere.detect.building import build, names, skeleton
from whatwhere.detect.coco_scores import CocoScores, coco_scores
from whatwhere.detect.dense import Dense, input_side
from whatwhere.detect.detections import Detections
from whatwhere.detect.evaluating import evaluate
from whatwhere.detect.measures import DetectionEpoch, Judged, TrainedDetector, deciding, numbers, per_class
from whatwhere.detect.task import Detection, judge
from whatwhere.detect.voc_scores import VocScores, voc_scores

__all__ = [
    "CocoScores",
    "Dense",
    "Detection",
    "DetectionEpoch",
    "Detections",
    "Judged",
    "TrainedDetector",
    "VocScores",
    "build",
    "coco_scores",
    "deciding",
    "evaluate",
    "input_side",
    "judge",
    "names",
    "numbers",
    "per_class",
    "skeleton",
    "voc_scores",
]
