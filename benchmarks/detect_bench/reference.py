"""A plain training and evaluation loop for torchvision's detectors, as its own reference scripts go about it."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.io import decode_image
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, Image

__all__ = ["Plain", "plain_scores"]


class Files(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images and boxes from files, flipped at random."""

    def __init__(self, paths: list[str], boxes: list[Tensor], labels: list[Tensor]) -> None:
        self.paths, self.boxes, self.labels = paths, boxes, labels
        self.change = v2.Compose([v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = Image(decode_image(self.paths[index], "RGB"))
        size = (image.shape[1], image.shape[2])
        boxes = BoundingBoxes(self.boxes[index], format="XYXY", canvas_size=size)
        image, target = self.change(image, {"boxes": boxes, "labels": self.labels[index] + 1})
        return image, target


class Plain:
    """Steps over a loader with one worker, whose losses are read one by one for the log, as the scripts do."""

    def __init__(self, model: nn.Module, part: Any, batch: int) -> None:
        known = [part.objects(i) for i in range(len(part))]
        self.files = Files(
            [str(Path(path)) for path in part.paths], [o.boxes for o in known], [o.labels for o in known]
        )
        self.loader = DataLoader(
            self.files, batch, shuffle=True, num_workers=1, collate_fn=_together, persistent_workers=True
        )
        self.model = model
        self.optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
        self.batches = self._forever()

    def _forever(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    def steps(self, count: int) -> None:
        """So many of them."""
        self.model.train()
        for _ in range(count):
            images, targets = next(self.batches)
            losses = self.model(list(images), list(targets))
            total = sum(losses.values())
            _ = {name: loss.item() for name, loss in losses.items()}
            self.optimiser.zero_grad()
            total.backward()
            self.optimiser.step()


def _together(samples: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*samples, strict=True))


@torch.no_grad()
def plain_scores(model: nn.Module, part: Any, batch: int, categories: int) -> float:
    """AP by pycocotools of a model run over a part."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    model.eval()
    known = [part.objects(i) for i in range(len(part))]
    results = []
    for start in range(0, len(part), batch):
        some = range(start, min(start + batch, len(part)))
        images = [decode_image(part.paths[i], "RGB").float() / 255 for i in some]
        for index, output in zip(some, model(images), strict=True):
            boxes = output["boxes"].clone()
            boxes[:, 2:] -= boxes[:, :2]
            rows = zip(boxes.tolist(), output["labels"].tolist(), output["scores"].tolist(), strict=True)
            results += [
                {"image_id": index, "category_id": label - 1, "bbox": box, "score": score} for box, label, score in rows
            ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(len(part))],
            "categories": [{"id": i} for i in range(categories)],
            "annotations": list(_annotations(known)),
        }
        truth.createIndex()
        scorer = COCOeval(truth, truth.loadRes(results), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return float(scorer.stats[0])


def _annotations(known: list[Any]) -> Iterator[dict[str, Any]]:
    number = 0
    for index, one in enumerate(known):
        for box, label, area in zip(one.boxes.tolist(), one.labels.tolist(), one.areas.tolist(), strict=True):
            number += 1
            x0, y0, x1, y1 = box
            sides = [x0, y0, x1 - x0, y1 - y0]
            yield dict(id=number, image_id=index, category_id=label, bbox=sides, area=area, iscrowd=0)
