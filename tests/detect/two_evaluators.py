"""A detector of a few lines, and what each of two processes does with it; spawned processes import it."""

from pathlib import Path

import torch
import torch.distributed as dist
from support.detection_parts import MadePart, made_objects, made_part
from torch import Tensor, nn

from whatwhere.detect.evaluating import evaluate
from whatwhere.train.ranks import Ranks

__all__ = ["IMAGES", "Bright", "bright_part", "find_together"]

IMAGES = 7


class Bright(nn.Module):
    """As torchvision's detectors are called; finds as many boxes as an image's first pixel's red says, surest last."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.norm = nn.BatchNorm1d(3)

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert not self.training
        return [self.found(image) for image in images]

    def found(self, image: Tensor) -> dict[str, Tensor]:
        count = round(float(image[0, 0, 0] * 255))
        ramp = torch.arange(count) * self.scale
        boxes = ramp[:, None] + torch.tensor([0, 0, 1, 1]) * image[1, 0, 0]
        return {"boxes": boxes, "labels": torch.arange(count) + 1, "scores": (ramp + 1) / 10 * image[2, 0, 0]}


def bright_part() -> MadePart:
    """Images of several sizes, one of which has nothing to be found."""
    chance = torch.Generator().manual_seed(4)
    images = [torch.randint(256, (3, 4 + i, 9 - i), dtype=torch.uint8, generator=chance) for i in range(IMAGES)]
    for image, count in zip(images, (3, 0, 5, 1, 2, 4, 1), strict=True):
        image[0, 0, 0] = count
    return made_part([made_objects([], [])] * IMAGES, images=images)


def find_together(rank: int, folder: str) -> None:
    """What this process is given for the whole part, and rows joined, to ``folder``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        ranks, part = Ranks(rank, 2), bright_part()
        asked: list[int] = []

        def image(index: int) -> Tensor:
            asked.append(index)
            return part.image(index)

        start, stop = ranks.share(IMAGES)
        found = evaluate(Bright(), part, batch_size=2, images=map(image, range(start, stop)), ranks=ranks)
        rows = ranks.joined(torch.full((3 * rank, 2), 1 / 3 + rank, dtype=torch.float64))
        tensors = [(one.boxes, one.labels, one.scores) for one in found]
        torch.save({"found": tensors, "asked": asked, "rows": rows}, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
