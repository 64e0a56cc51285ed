"""A data set that a few steps learn, and a network small enough for it."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from whatwhere.data import ImageSet, Splits
from whatwhere.train import Epoch, Recipe

CLASSES = ("top", "bottom")
RECIPE = Recipe(epochs=4, batch_size=16, lr=0.05, padding=1, flip=True)
SLOW = replace(RECIPE, lr=0.002)  # the epochs before the last do not all do equally well


def toy_set(count: int, seed: int) -> ImageSet:
    """8x8 noise, bright in its upper or its lower half."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 100, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(2, (count,), generator=generator)
    images[labels == 0, :, :4] += 120
    images[labels == 1, :, 4:] += 120
    return ImageSet(images, labels)


def toy_splits(train: int = 72) -> Splits:
    return Splits(
        "toy", CLASSES, toy_set(train, 1), toy_set(40, 2), toy_set(40, 3), mean=(0.4, 0.4, 0.4), std=(0.3, 0.3, 0.3)
    )


class ToyNet(nn.Module):
    """Convolution, batch norm, dropout (so that a network's own chance counts too) and a linear head."""

    def __init__(self, width: int = 8, classes: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(width * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.adaptive_avg_pool2d(self.norm(self.conv(images)).relu(), 2)
        return self.head(self.drop(features.flatten(1)))


def toy_net(width: int = 8, classes: int = 2) -> ToyNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return ToyNet(width, classes)


def read_epochs(path: Path) -> list[Epoch]:
    """The epochs of a ``metrics.jsonl``."""
    return [Epoch(**json.loads(line)) for line in path.read_text().splitlines()]
