"""How long does it take to score what a detector has found?

``evaluation_speed``: as many images and objects as COCO's validation part has, a hundred detections in each image, half
of them near an object; `coco_scores` beside pycocotools on one core, on the same detections. No time is given unless
their twelve numbers are the same.
"""

import contextlib
import io
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whatwhere.data.detection import Objects
from whatwhere.detect.coco_scores import CocoScores, coco_scores
from whatwhere.detect.detections import Detections

__all__ = ["by_pycocotools", "corner_and_sides", "evaluation_speed"]

IMAGES, OBJECTS, CLASSES, FOUND = 5_000, 7.2, 80, 100
EQUAL = 1e-9


@dataclass(frozen=True, eq=False)
class Known:
    """A part that has objects and no images."""

    known: list[Objects]

    @property
    def ids(self) -> Sequence[int]:
        """From 0."""
        return range(len(self.known))

    @property
    def sizes(self) -> Tensor:
        """All the same."""
        return torch.tensor([[480, 640]]).expand(len(self), 2)

    def __len__(self) -> int:
        return len(self.known)

    def objects(self, index: int) -> Objects:
        """What is in an image."""
        return self.known[index]

    def image(self, index: int) -> Tensor:
        """There is none."""
        raise NotImplementedError

    def take(self, indices: Tensor) -> "Known":
        """Some of them."""
        return Known([self.known[index] for index in indices.tolist()])


def evaluation_speed(images: int = IMAGES, rounds: int = 3) -> dict[str, Any]:
    """A core's seconds for `coco_scores`, median of ``rounds``, and for pycocotools, once; and the memory ours adds."""
    torch.set_num_threads(1)
    part, found = made(images)
    names = [str(label) for label in range(CLASSES)]
    before, seconds = peak(), []
    for _ in range(rounds):
        start = time.process_time()
        scores = coco_scores(part, found, names)
        seconds.append(time.process_time() - start)
    memory = peak() - before
    numbers, theirs = by_pycocotools(part, found)
    check(scores, numbers)
    return {
        "images": images,
        "objects": sum(map(len, part.known)),
        "classes": CLASSES,
        "detections": sum(map(len, found)),
        "seconds": statistics.median(seconds),
        "mebibytes": memory,
        "pycocotools_seconds": theirs,
        "ap": scores.ap,
    }


def made(images: int) -> tuple[Known, list[Detections]]:
    """Objects and detections of random boxes."""
    chance = torch.Generator().manual_seed(0)
    known, found = [], []
    for _ in range(images):
        count = int(torch.poisson(torch.tensor(OBJECTS), generator=chance))
        corners, sides = 400 * share(chance, count, 2), 8 + 240 * share(chance, count, 2) ** 2
        boxes, labels = torch.cat([corners, corners + sides], 1), torch.randint(CLASSES, (count,), generator=chance)
        no, crowd = torch.zeros(count, dtype=torch.bool), share(chance, count) < 0.01
        known.append(Objects(boxes, labels, sides.prod(1), no, crowd))
        near = torch.randint(count, (FOUND // 2,), generator=chance) if count else torch.zeros(0, dtype=torch.int64)
        jitter = 0.05 * sides[near].repeat(1, 2) * torch.randn(len(near), 4, generator=chance)
        low = 400 * share(chance, FOUND - len(near), 2)
        others = torch.cat([low, low + 10 + 200 * share(chance, len(low), 2)], 1)
        named = torch.cat([labels[near], torch.randint(CLASSES, (len(low),), generator=chance)])
        scores = share(chance, FOUND).sort(descending=True).values
        found.append(Detections(torch.cat([boxes[near] + jitter, others]), named, scores))
    return Known(known), found


def share(chance: torch.Generator, *shape: int) -> Tensor:
    """Random numbers from 0 to 1."""
    return torch.rand(shape, generator=chance)


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def by_pycocotools(part: Known, found: list[Detections]) -> tuple[list[float], float]:
    """Its twelve numbers, and a core's seconds from the same tensors to them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": index} for index in part.ids],
            "categories": [{"id": label} for label in range(CLASSES)],
            "annotations": [
                {"id": number, "image_id": index, "category_id": label, "bbox": box, "area": area, "iscrowd": crowd}
                for number, (index, label, box, area, crowd) in enumerate(
                    (
                        (index, *row)
                        for index, one in enumerate(part.known)
                        for row in zip(one.labels.tolist(), *sided(one), one.crowd.int().tolist(), strict=True)
                    ),
                    1,
                )
            ],
        }
        truth.createIndex()
        results = [
            {"image_id": index, "category_id": label, "bbox": box, "score": score}
            for index, one in enumerate(found)
            for label, box, score in zip(
                one.labels.tolist(), corner_and_sides(one.boxes), one.scores.tolist(), strict=True
            )
        ]
        scorer = COCOeval(truth, truth.loadRes(results), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return scorer.stats.tolist(), time.process_time() - start


def sided(one: Objects) -> tuple[list[list[float]], list[float]]:
    """Boxes and areas of an image."""
    return corner_and_sides(one.boxes), one.areas.tolist()


def corner_and_sides(boxes: Tensor) -> list[list[float]]:
    """As x, y, width and height."""
    wide = boxes.double()
    return torch.cat([wide[:, :2], wide[:, 2:] - wide[:, :2]], 1).tolist()


def check(scores: CocoScores, numbers: list[float]) -> None:
    """Whether both have found the same."""
    ours = [scores.ap, scores.ap50, scores.ap75, scores.ap_small, scores.ap_medium, scores.ap_large]
    ours += [scores.ar1, scores.ar10, scores.ar100, scores.ar_small, scores.ar_medium, scores.ar_large]
    if any(abs((-1 if one is None else one) - other) > EQUAL for one, other in zip(ours, numbers, strict=True)):
        raise SystemExit(f"the numbers differ: {ours}, pycocotools {numbers}")
