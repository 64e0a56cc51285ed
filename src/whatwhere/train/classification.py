"""Telling what is in an image: the engine's task for labelled images."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.data import ImageSet, Splits
from whatwhere.data.feed import Normaliser
from whatwhere.errors import RunError
from whatwhere.train.evaluate import Evaluation, check_logits, evaluate, laid_out
from whatwhere.train.feeding import Feed
from whatwhere.train.metrics import Epoch, Trained
from whatwhere.train.precision import autocast
from whatwhere.train.ranks import Ranks
from whatwhere.train.recipe import Recipe
from whatwhere.train.tally import hits
from whatwhere.train.task import PARTS, identity_of

__all__ = ["Classification"]

_EVALUATED = 500


class Classification:
    """The class of each image, by cross-entropy.

    Args:
        splits: the data.
    """

    epoch = Epoch

    def __init__(self, splits: Splits) -> None:
        self.name, self._splits = splits.name, splits

    def check(self, recipe: Recipe) -> None:
        """Raises a `RunError` where a part of the data is empty, or the recipe is a detector's."""
        if recipe.augment is not None:
            raise RunError(
                f"train(Recipe(augment={recipe.augment!r})): labelled images are changed by padding and flip",
                fix="augment=None",
            )
        for part in PARTS:
            if len(getattr(self._splits, part)) == 0:
                raise RunError(
                    f"train: '{self.name}' has no {part} images", fix="load it with enough images for each part"
                )

    def identity(self) -> dict[str, Any]:
        """The data's name and sizes."""
        return identity_of(self._splits)

    def feed(self, recipe: Recipe, seed: int, ranks: Ranks, device: torch.device) -> Feed:
        """The training images, as bytes."""
        return Feed(self._splits.train, recipe, seed, ranks, device)

    def forward(self, model: nn.Module, recipe: Recipe, device: torch.device, size: int) -> "_Forward":
        """Normalise, forward, loss."""
        return _Forward(model, self._splits, recipe, device, size)

    def part(self, name: str, device: torch.device) -> Any:
        """A set goes to the device as bytes, a stream is read as it is needed."""
        part = getattr(self._splits, name)
        return part.to(device) if isinstance(part, ImageSet) else part

    def evaluate(
        self, model: nn.Module, part: Any, recipe: Recipe, ranks: Ranks, device: torch.device, batch_size: int
    ) -> Evaluation:
        """Loss and accuracies."""
        with autocast(recipe, device):
            return evaluate(
                model,
                part,
                self._splits,
                channels_last=recipe.channels_last,
                batch_size=min(_EVALUATED, batch_size),
                ranks=ranks,
            )

    def words(self, noted: Sequence[float]) -> str:
        """The accuracy."""
        return f"accuracy {noted[0]:.1%}"

    def measured(self, noted: Sequence[float], validation: Evaluation, common: Mapping[str, Any]) -> Epoch:
        """The epoch with its accuracies."""
        return Epoch(
            **common,
            train_accuracy=noted[0],
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
        )

    def trained(self, best: Epoch, test: Evaluation, common: Mapping[str, Any]) -> Trained:
        """What the test images say."""
        return Trained(
            **common,
            test_accuracy=test.accuracy,
            test_loss=test.loss,
            test_top5=test.top5,
            validation_accuracy=best.validation_accuracy,
        )


class _Forward(nn.Module):
    """Bytes and labels in, mean loss and right answers out; compiled where batches have the size that was announced.

    The network inside is left as it is: what is compiled is a function that calls it.
    """

    def __init__(self, model: nn.Module, splits: Splits, recipe: Recipe, device: torch.device, size: int) -> None:
        super().__init__()
        self.model, self._splits, self._recipe, self._device, self.size = model, splits, recipe, device, size
        self._normalised = Normaliser(splits.mean, splits.std, device)
        self._compiled: Any = None

    def blank(self, count: int) -> tuple[Tensor, Tensor]:
        """Black images of the first class."""
        images = torch.zeros(count, *self._splits.train.shape, dtype=torch.uint8, device=self._device)
        return images, torch.zeros(count, dtype=torch.int64, device=self._device)

    def compile_(self, whole: bool) -> None:
        """Has `torch.compile` make a program of it, after a look at the output, in which nothing could be said."""
        self._check_classes()
        mode = "reduce-overhead" if self._recipe.graphs else None
        self._compiled = torch.compile(self._compute, fullgraph=whole, dynamic=False, mode=mode)

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = laid_out(images, self._recipe.channels_last)
        if self._compiled is None or len(labels) != self.size:
            logits: Tensor = self._logits(images)
            check_logits(logits, self._splits)
            return self._loss(logits, labels), hits(logits, labels)[None]
        if self._recipe.graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        loss, logits = self._compiled(images, labels)
        return loss, hits(logits, labels)[None]

    def _compute(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._logits(images)
        return self._loss(logits, labels), logits

    def _logits(self, images: Tensor) -> Tensor:
        with autocast(self._recipe, self._device):
            logits: Tensor = self.model(self._normalised(images))
        return logits.float()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self._recipe.label_smoothing)

    @torch.no_grad()
    def _check_classes(self) -> None:
        self.model.eval()
        image = self.blank(1)[0]
        check_logits(self._logits(laid_out(image, self._recipe.channels_last)), self._splits)
