"""One optimiser step: normalise, forward, loss, backward, in as many micro-batches and processes as share it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.data import Splits
from whatwhere.data.feed import Normaliser
from whatwhere.train.evaluate import check_logits, laid_out
from whatwhere.train.feeding import Batch
from whatwhere.train.ranks import Ranks
from whatwhere.train.recipe import Recipe
from whatwhere.train.tally import Tally, hits

__all__ = ["Stepper", "autocast"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_REHEARSALS = 3  # a CUDA graph is recorded at the second run and replayed from the third on


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The recipe's precision, as a context in which networks run."""
    return torch.autocast(device.type, dtype=_DTYPES[recipe.precision], enabled=recipe.precision != "fp32")


class _Forward(nn.Module):
    """Bytes and labels in, mean loss and logits out; compiled where batches have the size that was announced.

    The network inside is left as it is: what is compiled is a function that calls it.
    """

    def __init__(self, model: nn.Module, splits: Splits, recipe: Recipe, device: torch.device, size: int) -> None:
        super().__init__()
        self.model, self._splits, self._recipe, self._device, self.size = model, splits, recipe, device, size
        self._normalised = Normaliser(splits.mean, splits.std, device)
        self._compiled: Any = None

    def compile_(self, whole: bool) -> None:
        """Has `torch.compile` make a program of it; ``whole`` allows no breaks in it."""
        mode = "reduce-overhead" if self._recipe.graphs else None
        self._compiled = torch.compile(self._compute, fullgraph=whole, dynamic=False, mode=mode)

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = laid_out(images, self._recipe.channels_last)
        if self._compiled is None or len(labels) != self.size:
            logits: Tensor = self._logits(images)
            check_logits(logits, self._splits)
            return self._loss(logits, labels), logits
        if self._recipe.graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        loss, logits = self._compiled(images, labels)
        return loss, logits

    def _compute(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._logits(images)
        return self._loss(logits, labels), logits

    def _logits(self, images: Tensor) -> Tensor:
        with autocast(self._recipe, self._device):
            logits: Tensor = self.model(self._normalised(images))
        return logits.float()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self._recipe.label_smoothing)


class Stepper:
    """Takes the steps of one trial.

    Gradients are those of the mean loss over all images of the step, whatever their number on each process; processes
    exchange them through `DistributedDataParallel`.

    Args:
        model: on its device.
        optimiser: over its weights, prepared by the ``accelerator``.
        splits: for classes, mean and std.
        recipe: how to train.
        ranks: the processes.
        accelerator: Accelerate's, for the device, the loss scaler and clipping.
    """

    def __init__(
        self, model: nn.Module, optimiser: Any, splits: Splits, recipe: Recipe, ranks: Ranks, accelerator: Any
    ) -> None:
        self._model, self._optimiser, self._recipe = model, optimiser, recipe
        self._ranks, self._accelerator = ranks, accelerator
        self._shape, self._device = splits.train.shape, accelerator.device
        size = recipe.batch_size // (ranks.world * recipe.accumulate)
        self._forward = _Forward(model, splits, recipe, accelerator.device, size)
        self._parallel: Any = self._forward
        self._splits = splits

    def prepare(self) -> None:
        """Compiles and connects, with the weights to go on from in place; before the first step.

        All processes get the first one's weights. Compiling happens here, by rehearsal on blank images, so that no
        epoch's seconds have it in them.

        Raises:
            RunError: the network does not fit the classes; when it is to be compiled, else at the first step.
        """
        if self._recipe.compile:
            self._check_classes()
            # what batch norms say to other processes cannot be in a program
            self._forward.compile_(whole=not (self._recipe.sync_norm and self._ranks.world > 1))
            for _ in range(_REHEARSALS if self._recipe.graphs else 1):
                self.rehearse(self._forward.size)
        if self._recipe.graphs:  # a graph's own memory is overwritten at its next run, so sums are kept outside
            for weight in self._model.parameters():
                weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
        if self._ranks.world > 1:
            self._parallel = nn.parallel.DistributedDataParallel(self._forward)

    def take(self, batch: Batch, *, lr: float, seed: int, tally: Tally) -> None:
        """One step on ``batch``; the network's own chance, as in dropout, is drawn from ``seed``."""
        self._draw_from(seed)
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._optimiser.zero_grad(set_to_none=not self._recipe.graphs)
        parts = self._parts(batch)
        losses, right = [], []
        for number, (images, labels) in enumerate(parts, start=1):
            last = number == len(parts) or self._ranks.world == 1
            with nullcontext() if last else self._parallel.no_sync():
                loss, logits = self._parallel(images, labels)
                share = len(labels) * self._ranks.world / batch.total
                self._accelerator.backward(loss if share == 1 else loss * share)
            losses.append(loss.detach().clone() if self._recipe.graphs else loss.detach())
            right.append(hits(logits, labels))
        if self._recipe.clip_norm is not None:
            self._accelerator.clip_grad_norm_(self._model.parameters(), self._recipe.clip_norm)
        self._optimiser.step()
        self._note(batch, parts, losses, right, tally)

    def _draw_from(self, seed: int) -> None:
        # not torch.manual_seed, which looks for every kind of device there is, each time
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _parts(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """The micro-batches: as many in every process, and of two images at least where a short batch allows it."""
        count = self._recipe.accumulate
        if count == 1 or batch.copied:
            return [(batch.images, batch.labels)]
        if batch.total < self._recipe.batch_size:
            count = max(1, min(count, batch.total // (2 * self._ranks.world)))
        return list(zip(batch.images.tensor_split(count), batch.labels.tensor_split(count), strict=True))

    def _note(
        self, batch: Batch, parts: list[tuple[Tensor, Tensor]], losses: list[Tensor], right: list[Tensor], tally: Tally
    ) -> None:
        if batch.copied and not self._ranks.first:  # counted once
            tally.add(losses[0], torch.zeros_like(right[0]), 0)
        elif len(parts) == 1:
            tally.add(losses[0], right[0], len(batch.labels))
        else:
            sizes = torch.tensor([len(labels) for _, labels in parts], device=losses[0].device)
            mean = (torch.stack(losses) * sizes).sum() / len(batch.labels)
            tally.add(mean, torch.stack(right).sum(), len(batch.labels))

    def rehearse(self, count: int) -> None:
        """Forward and backward of ``count`` blank images; weights, buffers and gradients are as they were afterwards.

        Raises:
            torch.OutOfMemoryError: the device's memory does not hold them.
        """
        images = torch.zeros(count, *self._shape, dtype=torch.uint8, device=self._device)
        labels = torch.zeros(count, dtype=torch.int64, device=self._device)
        weights = [weight for weight in self._model.parameters() if weight.requires_grad]
        with _undone(self._model):
            # not backward(), which DistributedDataParallel takes for its own step, perhaps in the middle of one
            torch.autograd.grad(self._forward(images, labels)[0], weights, allow_unused=True)

    @torch.no_grad()
    def _check_classes(self) -> None:
        """A look at the output outside the program, in which nothing could be said about it."""
        self._model.eval()
        image = torch.zeros(1, *self._shape, dtype=torch.uint8, device=self._device)
        check_logits(self._forward._logits(laid_out(image, self._recipe.channels_last)), self._splits)


@contextmanager
def _undone(model: nn.Module) -> Iterator[None]:
    buffers = [buffer.clone() for buffer in model.buffers()]
    model.train()
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)
