"""What a comparison of detectors asks of data and networks."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere.attach import attach_
from whatwhere.data.detection import DetectionSplits
from whatwhere.data.detection_loading import load_detection
from whatwhere.detect import Dense, Detection, TrainedDetector, build, deciding, input_side
from whatwhere.errors import RunError
from whatwhere.experiments.arm_names import CONTROLS, YARDSTICK, parse_arm
from whatwhere.experiments.arms import Arm, freeze_gates
from whatwhere.experiments.spec import Comparison, TrialSpec
from whatwhere.explain import diagnose
from whatwhere.train import Recipe

__all__ = ["Detecting", "build_detector"]

_LOOKED_AT, _AT_ONCE = 32, 8


class Detecting:
    """Images with boxes: ``load_detection``, ``detect.build``, and COCO's AP, or VOC's for VOC's data."""

    def measures(self, splits: DetectionSplits) -> tuple[str, ...]:
        """COCO's precisions, after VOC's for VOC's data."""
        coco = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100")
        return ("voc07", "voc", *coco) if splits.scoring == "voc" else coco

    def load(self, comparison: Comparison, root: Path | None) -> DetectionSplits:
        """The images."""
        return load_detection(
            comparison.data,
            root=root,
            seed=comparison.split_seed,
            limit=comparison.limit,
            image_size=comparison.image_size if comparison.data == "scenes" else None,  # else the detector's business
        )

    def settled(self, comparison: Comparison, splits: DetectionSplits) -> Comparison:
        """The comparison with the data's own name; detectors have no stem to choose.

        Raises:
            RunError: an arm is a control, which only classifiers have.
        """
        for arm in comparison.gates:
            if parse_arm(arm).gate in CONTROLS:
                raise RunError(
                    f"compare(gates={','.join(comparison.gates)!r}, task='detect'): {arm!r} is made for classifiers",
                    fix="gates, and bam/frozen and the like",
                )
        return replace(comparison, data=splits.name, stem="standard")

    def build(self, spec: TrialSpec, splits: DetectionSplits) -> Arm:
        """The detector with its gates."""
        return build_detector(spec, len(splits.classes))

    def dense(self, model: nn.Module, splits: DetectionSplits) -> tuple[nn.Module, tuple[int, int, int]]:
        """What is counted and timed, and the image it takes: trunk, pyramid and heads."""
        side = input_side(model)
        return Dense(model), (3, side, side)

    def learnt(self, spec: TrialSpec, splits: DetectionSplits, model: nn.Module) -> Detection:
        """What ``train`` takes."""
        return Detection(splits, model)

    def outcome(self, trained: TrainedDetector) -> dict[str, Any]:
        """The fields of a result."""
        found = asdict(trained)
        test = found.pop("measures")
        told = {"score": deciding(test), "test": test, **{key: found.pop(key) for key in ("validation", "per_class")}}
        return {**found, "detection": told}

    def shown(self, model: nn.Module, splits: DetectionSplits, recipe: Recipe, count: int) -> tuple[list[Tensor], None]:
        """The first validation images, as many as are trained on at once and eight at most; no labels."""
        return _images(model, splits, min(count, recipe.batch_size, _AT_ONCE)), None

    def seen_by_gates(self, model: nn.Module, splits: DetectionSplits, recipe: Recipe) -> tuple[Mapping[str, Any], ...]:
        """What the trained gates do to some validation images, one by one, as a detector is used; it has no one answer
        to lose without them.
        """
        batches = [([image], None) for image in _images(model, splits, _LOOKED_AT)]
        return tuple(one.to_json() for one in diagnose(model, batches, probe=0))


def _images(model: nn.Module, splits: DetectionSplits, count: int) -> list[Tensor]:
    where, part = next(model.parameters()).device, splits.validation
    return [part.image(i).to(where).float() / 255 for i in range(min(count, len(part)))]


def build_detector(spec: TrialSpec, classes: int, *, weights: bool = True) -> Arm:
    """Build the detector under the trial's seed, then attach the gate: all else starts the same in all arms.

    The process's random state, GPUs included, is left as it was.

    Args:
        spec: of the trial.
        classes: without the background.
        weights: whether to load what the detector's name says of weights.

    Raises:
        HostError, AttachError, GateError: the detector or the gate cannot be built, or finds no site.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(spec.seed)
        model = build(spec.host, classes, image_size=spec.image_size, weights=weights)
        if spec.gate == YARDSTICK:
            return Arm(model, ())
        frozen, side = spec.start == "frozen", input_side(model)
        start = "preset" if frozen else spec.start
        plan = attach_(model, spec.gate, at=spec.at, start=start, input_size=(3, side, side))
        if frozen:
            freeze_gates(model)
        return Arm(model, tuple(site.name for site in plan.sites))
