"""A handful of scenes with several objects, and a detector small enough for them."""

import torch
from torch import nn

from whatwhere.data import scenes_many
from whatwhere.data.detection import DetectionSplits
from whatwhere.detect import build
from whatwhere.train import Recipe

__all__ = ["RECIPE", "few_scenes", "small_ssd"]

RECIPE = Recipe(epochs=2, batch_size=4, lr=0.02, weight_decay=1e-4, augment="none")


def few_scenes(train: int = 12, validation: int = 5, test: int = 5, size: int = 48) -> DetectionSplits:
    """The embedded set in miniature."""
    made = [scenes_many.generate_many(count, seed=seed, image_size=size) for seed, count in enumerate((train, test))]
    held = scenes_many.generate_many(validation, seed=2, image_size=size)
    classes = scenes_many.CLASSES
    return DetectionSplits("scenes", classes, tuple(range(1, len(classes) + 1)), made[0], held, made[1], "coco")


def small_ssd(name: str = "ssd-resnet8", size: int = 48) -> nn.Module:
    """An SSD for the classes of `few_scenes`, the same whenever it is asked for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return build(name, len(scenes_many.CLASSES), image_size=size)
