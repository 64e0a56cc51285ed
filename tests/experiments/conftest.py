"""A comparison in miniature: eight images, one convolution for a host, another for a gate, training by table."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from whatwhere import hosts
from whatwhere.data import ImageSet, Splits
from whatwhere.errors import AttachError
from whatwhere.experiments import arms, classifying, runner
from whatwhere.train import Epoch, Trained


class TinyHost(nn.Module):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.gate = nn.Identity()
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.gate(self.conv(x)).mean((2, 3)))


@dataclass
class Lab:
    """The stand-ins' memory: what was trained with which weights, and what each trial is to give."""

    splits: Splits
    trained: list = field(default_factory=list)
    weights: dict = field(default_factory=dict)
    accuracy: dict = field(default_factory=dict)
    fails: dict = field(default_factory=dict)

    def train(self, model, splits, recipe, *, seed, folder, on_epoch, progress, loggers):
        self.loggers = loggers
        gate = json.loads((folder / "trial.json").read_text())["gate"]
        if (gate, seed) in self.fails:
            raise self.fails[gate, seed]
        assert progress is False
        self.trained.append((gate, seed))
        self.weights[gate, seed] = model.conv.weight.detach().clone()
        for epoch in range(1, recipe.epochs + 1):
            on_epoch(Epoch(epoch, 0.1, 1.0, 0.5, 1.0, 0.5, 1.0, 8.0))
        (folder / "checkpoint.pt").write_text("weights")
        return Trained(self.accuracy.get((gate, seed), 0.8), 0.5, 1, 0.75, recipe.epochs, 1.0, 8.0)


def _attach(model, gate, *, at, start, input_size):
    if gate not in ("se", "bam", "cbam"):
        raise AttachError(f"attach_(TinyHost, {gate!r}): no gate has this name", closest=["bam"])
    assert input_size == (3, 8, 8)
    model.gate = nn.Conv2d(4, 4, 1)
    return SimpleNamespace(sites=[SimpleNamespace(name="conv")])


@pytest.fixture
def splits() -> Splits:
    def images(n: int) -> ImageSet:
        return ImageSet(torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8), torch.arange(n) % 2)

    return Splits("tiny", ("a", "b"), images(8), images(4), images(6), (0.5,) * 3, (0.2,) * 3)


@pytest.fixture
def lab(splits, monkeypatch) -> Lab:
    lab = Lab(splits)
    monkeypatch.setattr(runner, "train", lab.train)
    monkeypatch.setattr(classifying, "load", lambda name, **_: splits)
    for builder in ("build", "skeleton"):
        monkeypatch.setattr(
            hosts,
            builder,
            lambda name, *, num_classes=10, in_channels=3, stem, width=1.0: TinyHost(num_classes, in_channels),
        )
    monkeypatch.setattr(arms, "attach_", _attach)
    return lab
