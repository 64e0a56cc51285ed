"""What is seen to before anything is scored: that a score is of all images, and of nothing but numbers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from whatwhere.data.detection import DetectionPart, Objects
from whatwhere.detect.detections import Detections
from whatwhere.errors import DataError, RunError

__all__ = ["check_found", "check_truth"]


def check_truth(
    call: str, truth: DetectionPart, classes: Sequence[str], counts: Callable[[Objects], Tensor]
) -> list[Objects]:
    """The objects of all images, once it is known that there is something to find.

    Args:
        call: the call as the user wrote it, for messages.
        truth: the part that is scored on.
        classes: the name of each label.
        counts: says of each object of an image whether it is to be found.

    Raises:
        DataError: no image has an object that counts, or one is of a class that has no name.
    """
    known = [truth.objects(index) for index in range(len(truth))]
    if not any(bool(counts(one).any()) for one in known):
        raise DataError(
            f"{call}: there is no object to find",
            got=f"{len(truth)} images, {sum(len(one) for one in known)} objects that are left out of the scores",
            fix="score on a part with objects",
        )
    for index, one in enumerate(known):
        if len(one) and not _within(one.labels, classes):
            raise DataError(
                f"{call}: an object's label is one of 0 to {len(classes) - 1}, as there are {len(classes)} classes",
                got=f"image {truth.ids[index]!r}: labels {sorted(set(one.labels.tolist()))}",
                fix="name the classes of this part",
            )
    return known


def check_found(call: str, ids: Sequence[int | str], found: Sequence[Detections], classes: Sequence[str]) -> None:
    """Whether there is one entry for each image, with boxes, labels and scores that can be used.

    Args:
        call: the call as the user wrote it, for messages.
        ids: of the images that were looked at.
        found: what was found in it.
        classes: the name of each label.

    Raises:
        RunError: images and entries differ in number, a box or a score is not finite, a box is reversed, or a label has
            no class.
    """
    if len(found) != len(ids):
        raise RunError(
            f"{call}: one entry for each image, in the part's order",
            got=f"{len(ids)} images, {len(found)} entries",
            fix="give empty Detections for an image in which nothing was found",
        )
    for index, one in enumerate(found):
        wrong = _wrong(one, classes)
        if wrong:
            raise RunError(f"{call}: {wrong[0]}", got=f"image {ids[index]!r}: {wrong[1]}", fix=wrong[2])


def _wrong(one: Detections, classes: Sequence[str]) -> tuple[str, str, str] | None:
    """The rule that was broken, what was got, and the way out."""
    if not len(one):
        return None
    if not (torch.isfinite(one.boxes).all() and torch.isfinite(one.scores).all()):
        bad = int((~torch.isfinite(one.boxes).all(1) | ~torch.isfinite(one.scores)).nonzero()[0])
        got = f"box {one.boxes[bad].tolist()}, score {float(one.scores[bad])}"
        return "boxes and scores are finite", got, "the detector's weights or inputs are not finite either: look there"
    if (one.boxes[:, 2:] < one.boxes[:, :2]).any():
        bad = int((one.boxes[:, 2:] < one.boxes[:, :2]).any(1).nonzero()[0])
        rule = "a box is x0, y0, x1, y1 with x0 <= x1 and y0 <= y1"
        return rule, f"box {one.boxes[bad].tolist()}", "corners, not a corner and sizes, are wanted"
    if not _within(one.labels, classes):
        rule = f"a label is one of 0 to {len(classes) - 1}, as there are {len(classes)} classes"
        return rule, f"labels {sorted(set(one.labels.tolist()))}", "labels count from 0; the background is none"
    return None


def _within(labels: Tensor, classes: Sequence[str]) -> bool:
    return int(labels.min()) >= 0 and int(labels.max()) < len(classes)
