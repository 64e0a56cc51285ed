"""Finding objects: the engine's task for images with boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere.data.box_readers import BoxReaders, Sample
from whatwhere.data.box_transforms import Augmentation
from whatwhere.data.detection import DetectionPart, DetectionSplits, Objects
from whatwhere.detect.coco_scores import coco_scores
from whatwhere.detect.dense import input_side
from whatwhere.detect.evaluating import evaluate
from whatwhere.detect.feeding import BoxFeed
from whatwhere.detect.measures import DetectionEpoch, Judged, TrainedDetector, numbers, per_class
from whatwhere.detect.voc_scores import voc_scores
from whatwhere.errors import RunError
from whatwhere.train.precision import autocast
from whatwhere.train.ranks import Ranks
from whatwhere.train.recipe import Recipe
from whatwhere.train.task import PARTS, identity_of

__all__ = ["Detection", "judge"]

_USUAL = Recipe()
_INSTEAD = dict.fromkeys(("flip", "padding"), "; augment= says how images and boxes are changed")
# What torchvision's detectors call their losses, by what they are about.
_LOSSES = {
    "classes": ("loss_classifier", "classification"),
    "boxes": ("loss_box_reg", "bbox_regression", "bbox_ctrness"),
    "proposals": ("loss_objectness", "loss_rpn_box_reg"),
}


class Detection:
    """The boxes and classes of the objects in each image, by the losses of the detector itself.

    Networks are evaluated in float32 whatever the recipe's precision: places are not worth much in bfloat16.
    Detectors divide their losses by the objects or boxes of a micro-batch, and many pad its images to the largest; so
    micro-batches and processes change losses a little, though the images are the same.

    Args:
        splits: the data.
        model: the detector, asked how it takes its images: those that want one fixed size get images of it, and SSD's
            changes where the recipe names none; all others get images of any size, and are mirrored at random.
        workers: processes that read images; None for as many as there are CPUs to spare.
    """

    epoch = DetectionEpoch

    def __init__(self, splits: DetectionSplits, model: nn.Module, *, workers: int | None = None) -> None:
        self.name, self._splits = splits.name, splits
        transform: Any = getattr(model, "transform", None)
        fixed = getattr(transform, "fixed_size", None)
        self._side = int(fixed[0]) if fixed and fixed[0] == fixed[1] else None
        self._usual = "flip" if self._side is None else "ssd"
        self._blank_side = input_side(model)
        self._readers = BoxReaders("train", workers)

    def check(self, recipe: Recipe) -> None:
        """Raises a `RunError` where a part has no objects, or the recipe asks for what detectors cannot do."""
        for name in PARTS:
            part = getattr(self._splits, name)
            if not any(self._counted(part.objects(i)) for i in range(len(part))):
                raise RunError(
                    f"train: '{self.name}' has no objects in its {name} images",
                    got=f"{len(part)} images",
                    fix="load it with enough images for each part",
                )
        for field in ("compile", "graphs", "label_smoothing", "flip", "padding"):
            usual = getattr(_USUAL, field)
            if getattr(recipe, field) != usual:
                raise RunError(
                    f"train(Recipe({field}={getattr(recipe, field)!r})): no detector is trained that way",
                    fix=f"{field}={usual!r}{_INSTEAD.get(field, '')}",
                )

    def _counted(self, objects: Objects) -> bool:
        """Whether an image has an object that scores count."""
        left_out = objects.crowd | objects.difficult if self._splits.scoring == "voc" else objects.crowd
        return bool((~left_out).any())

    def identity(self) -> dict[str, Any]:
        """The data's name and sizes."""
        return identity_of(self._splits)

    def feed(self, recipe: Recipe, seed: int, ranks: Ranks, device: torch.device) -> BoxFeed:
        """The training images, read and changed ahead by other processes where they lie in files."""
        kind: Any = recipe.augment or self._usual
        augmentation = Augmentation(kind, self._side)
        return BoxFeed(self._splits.train, augmentation, recipe.batch_size, seed, ranks, self._readers)

    def forward(self, model: nn.Module, recipe: Recipe, device: torch.device, size: int) -> "_Forward":
        """The detector's own losses."""
        return _Forward(model, recipe, device, size, self._blank_side)

    def part(self, name: str, device: torch.device) -> DetectionPart:
        """Images stay where they are."""
        part: DetectionPart = getattr(self._splits, name)
        return part

    def evaluate(
        self,
        model: nn.Module,
        part: DetectionPart,
        recipe: Recipe,
        ranks: Ranks,
        device: torch.device,
        batch_size: int,
    ) -> Judged:
        """COCO's figures, and VOC's for VOC's data; the network is left in eval mode.

        Raises:
            RunError: weights are nan or infinite; a detector may find nothing by them, and no loss would tell.
        """
        _check_weights(model)
        model.eval()
        images = self._readers.images(part, range(*ranks.share(len(part))))
        return judge(self._splits, part, evaluate(model, part, batch_size=batch_size, images=images, ranks=ranks))

    def words(self, noted: Sequence[float]) -> str:
        """The loss in its parts."""
        shown = zip(_LOSSES, noted, strict=True)
        return "  ".join(f"{name} {value:.3f}" for name, value in shown if value)

    def measured(self, noted: Sequence[float], validation: Judged, common: Mapping[str, Any]) -> DetectionEpoch:
        """The epoch with its losses and precisions."""
        classes, boxes, proposals = noted
        found = numbers(validation)
        return DetectionEpoch(
            **common,
            train_classes=classes,
            train_boxes=boxes,
            train_proposals=proposals,
            validation_ap=found["ap"] or 0.0,
            validation_ap50=found["ap50"] or 0.0,
            validation_ap75=found["ap75"] or 0.0,
            validation_voc07=found.get("voc07"),
        )

    def trained(self, best: DetectionEpoch, test: Judged, common: Mapping[str, Any]) -> TrainedDetector:
        """What the test images say."""
        classes = per_class(test, self._splits.categories)
        return TrainedDetector(**common, measures=numbers(test), per_class=classes, validation=best.score)


def judge(splits: DetectionSplits, part: DetectionPart, found: Any) -> Judged:
    """What COCO, and for VOC's data VOC, says of what was found in each image of a part.

    Raises:
        DataError, RunError: as ``coco_scores``.
    """
    voc = voc_scores(part, found, splits.classes) if splits.scoring == "voc" else None
    return Judged(coco_scores(part, found, splits.classes), voc)


def _check_weights(model: nn.Module) -> None:
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise RunError(
                f"train: the weights became nan or infinite: '{name}'",
                fix="a lower lr, warmup_epochs, clip_norm, or precision='fp32'; the checkpoint before it stays",
            )


class _Forward(nn.Module):
    """Samples in, the mean of the summed losses and each kind of loss times the images out."""

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device, size: int, side: int) -> None:
        super().__init__()
        self.model, self.size = model, size
        self._recipe, self._device, self._side = recipe, device, side

    def blank(self, count: int) -> tuple[list[Sample], list[Sample]]:
        """Black images with one object in the middle."""
        side = self._side
        box = torch.tensor([[side / 4, side / 4, 3 * side / 4, 3 * side / 4]])
        one = Sample(torch.zeros(3, side, side, dtype=torch.uint8), box, torch.zeros(1, dtype=torch.int64))
        return [one] * count, [one] * count

    def forward(self, images: Sequence[Sample], labels: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        pictures = [one.image.to(self._device, non_blocking=True).float() / 255 for one in images]
        targets = [{"boxes": one.boxes.to(self._device), "labels": one.labels.to(self._device) + 1} for one in labels]
        with autocast(self._recipe, self._device):
            losses: Mapping[str, Tensor] = self.model(pictures, targets)
        floats = {name: loss.float() for name, loss in losses.items()}
        zero = torch.zeros((), device=self._device)
        parts = [sum((floats[name].detach() for name in names if name in floats), zero) for names in _LOSSES.values()]
        return torch.stack(list(floats.values())).sum(), torch.stack(parts) * len(pictures)
