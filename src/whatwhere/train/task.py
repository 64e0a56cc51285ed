"""What a trial learns, as the engine sees it: where batches come from, what the loss is, how well it is done."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from whatwhere.train.ranks import Ranks
from whatwhere.train.recipe import Recipe

__all__ = ["PARTS", "Batch", "Evaluation", "Feed", "Forward", "Measured", "Task", "identity_of"]


PARTS = ("train", "validation", "test")


def identity_of(splits: Any) -> dict[str, Any]:
    """The name of a data set in three parts and their sizes, as `Task.identity` gives them."""
    return {"data": splits.name, **{f"{part}_images": len(getattr(splits, part)) for part in PARTS}}


class Measured(Protocol):
    """One epoch and how it went: a frozen dataclass of plain values, one line of ``metrics.jsonl``."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def epoch(self) -> int:
        """Its number, counted from 1."""

    @property
    def score(self) -> float:
        """What the best epoch is chosen by, on the validation images; more is better."""

    @property
    def seconds(self) -> float:
        """Of training."""

    @property
    def images_per_second(self) -> float:
        """Training images, of all processes, by ``seconds``."""

    @property
    def waiting(self) -> float | None:
        """The fraction of ``seconds`` that the step waited for its images."""

    @property
    def peak_bytes(self) -> int | None:
        """The most memory in use."""


class Evaluation(Protocol):
    """How well a network does on some images."""

    @property
    def loss(self) -> float:
        """What must stay finite; 0 where evaluation has no loss."""


class Batch(Protocol):
    """This process's slice of the batch of one step."""

    @property
    def total(self) -> int:
        """Images of the slices of all processes."""

    @property
    def copied(self) -> bool:
        """Whether each process got the whole batch, it being too small to share."""

    def __len__(self) -> int: ...

    def parts(self, count: int) -> Sequence[tuple[Any, Any]]:
        """The slice in ``count`` micro-batches of images and what is to be learnt of them, each as `Forward` takes."""


class Feed(Protocol):
    """The training images, batch after batch; a batch is a function of the seed, the epoch and the step."""

    steps: int

    def epoch(self, number: int, *, first_step: int) -> Iterator[Batch]:
        """The batches of an epoch (from 1), those before ``first_step`` (from 0) skipped without being made."""


class Forward(Protocol):
    """A micro-batch in; its mean loss (0-dim) and what is noted of it, sums over its images (K,), out."""

    model: nn.Module
    size: int

    def blank(self, count: int) -> tuple[Any, Any]:
        """``count`` images with nothing on them, and what goes with them, to rehearse with."""

    def compile_(self, whole: bool) -> None:
        """Has `torch.compile` make a program of it; ``whole`` allows no breaks in it."""

    def __call__(self, images: Any, labels: Any) -> tuple[Tensor, Tensor]: ...


class Task(Protocol):
    """What a trial learns.

    Attributes:
        name: of the data, for messages.
        epoch: what an epoch's line holds, a frozen dataclass.
    """

    name: str
    epoch: type[Any]

    def check(self, recipe: Recipe) -> None:
        """Whether the data will do, and the recipe for them.

        Raises:
            RunError: they do not.
        """

    def identity(self) -> Mapping[str, Any]:
        """Plain values that say which data these are; with the recipe and the seed they make the trial."""

    def feed(self, recipe: Recipe, seed: int, ranks: Ranks, device: torch.device) -> Feed:
        """The training images."""

    def forward(self, model: nn.Module, recipe: Recipe, device: torch.device, size: int) -> Forward:
        """What a step computes of a micro-batch of ``size`` images; an nn.Module."""

    def part(self, name: str, device: torch.device) -> Any:
        """The validation or test images, on the device if they go there as a whole."""

    def evaluate(
        self, model: nn.Module, part: Any, recipe: Recipe, ranks: Ranks, device: torch.device, batch_size: int
    ) -> Any:
        """How well the network does on a part, an `Evaluation`; all processes share the work and get the result."""

    def words(self, noted: Sequence[float]) -> str:
        """What is noted of the training images, means over them, as the progress line says it."""

    def measured(self, noted: Sequence[float], validation: Any, common: Mapping[str, Any]) -> Measured:
        """The epoch: of the ``common`` fields, of what was noted in training and of what validation said."""

    def trained(self, best: Any, test: Any, common: Mapping[str, Any]) -> Any:
        """What came of the trial: of the ``common`` fields, the best epoch and the test images."""
