"""One optimiser step: forward, loss, backward, in as many micro-batches and processes as share it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from whatwhere.train.ranks import Ranks
from whatwhere.train.recipe import Recipe
from whatwhere.train.tally import Tally
from whatwhere.train.task import Batch, Forward

__all__ = ["Stepper"]

_REHEARSALS = 3  # a CUDA graph is recorded at the second run and replayed from the third on


class Stepper:
    """Takes the steps of one trial.

    Gradients are those of the mean loss over all images of the step, whatever their number on each process; processes
    exchange them through `DistributedDataParallel`.

    Args:
        forward: what is computed of a micro-batch; an nn.Module around the network, on its device.
        optimiser: over its weights, prepared by the ``accelerator``.
        recipe: how to train.
        ranks: the processes.
        accelerator: Accelerate's, for the device, the loss scaler and clipping.
    """

    def __init__(self, forward: Forward, optimiser: Any, recipe: Recipe, ranks: Ranks, accelerator: Any) -> None:
        self._forward, self._model, self._optimiser, self._recipe = forward, forward.model, optimiser, recipe
        self._ranks, self._accelerator, self._device = ranks, accelerator, accelerator.device
        self._parallel: Any = forward

    def prepare(self) -> None:
        """Compiles and connects, with the weights to go on from in place; before the first step.

        All processes get the first one's weights. Compiling happens here, by rehearsal on blank images, so that no
        epoch's seconds have it in them.

        Raises:
            RunError: the network does not fit the data; when it is to be compiled, else at the first step.
        """
        if self._recipe.compile:
            # what batch norms say to other processes cannot be in a program
            self._forward.compile_(whole=not (self._recipe.sync_norm and self._ranks.world > 1))
            for _ in range(_REHEARSALS if self._recipe.graphs else 1):
                self.rehearse(self._forward.size)
        if self._recipe.graphs:  # a graph's own memory is overwritten at its next run, so sums are kept outside
            for weight in self._model.parameters():
                weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
        if self._ranks.world > 1:
            self._parallel = nn.parallel.DistributedDataParallel(cast(nn.Module, self._forward))

    def take(self, batch: Batch, *, lr: float, seed: int, tally: Tally) -> None:
        """One step on ``batch``; the network's own chance, as in dropout, is drawn from ``seed``."""
        self._draw_from(seed)
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._optimiser.zero_grad(set_to_none=not self._recipe.graphs)
        parts = self._parts(batch)
        losses, noted = [], []
        for number, (images, labels) in enumerate(parts, start=1):
            last = number == len(parts) or self._ranks.world == 1
            with nullcontext() if last else self._parallel.no_sync():
                loss, sums = self._parallel(images, labels)
                share = len(labels) * self._ranks.world / batch.total
                self._accelerator.backward(loss if share == 1 else loss * share)
            losses.append(loss.detach().clone() if self._recipe.graphs else loss.detach())
            noted.append(sums)
        if self._recipe.clip_norm is not None:
            self._accelerator.clip_grad_norm_(self._model.parameters(), self._recipe.clip_norm)
        self._optimiser.step()
        self._note(batch, parts, losses, noted, tally)

    def _draw_from(self, seed: int) -> None:
        # not torch.manual_seed, which looks for every kind of device there is, each time
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _parts(self, batch: Batch) -> Sequence[tuple[Any, Any]]:
        """The micro-batches: as many in every process, and of two images at least where a short batch allows it."""
        count = 1 if batch.copied else self._recipe.accumulate
        if count > 1 and batch.total < self._recipe.batch_size:
            count = max(1, min(count, batch.total // (2 * self._ranks.world)))
        return batch.parts(count)

    def _note(
        self,
        batch: Batch,
        parts: Sequence[tuple[Any, Any]],
        losses: list[Tensor],
        noted: list[Tensor],
        tally: Tally,
    ) -> None:
        if batch.copied and not self._ranks.first:  # counted once
            tally.add(losses[0], torch.zeros_like(noted[0]), 0)
        elif len(parts) == 1:
            tally.add(losses[0], noted[0], len(batch))
        else:
            sizes = torch.tensor([len(labels) for _, labels in parts], device=losses[0].device)
            mean = (torch.stack(losses) * sizes).sum() / len(batch)
            tally.add(mean, torch.stack(noted).sum(0), len(batch))

    def rehearse(self, count: int) -> None:
        """Forward and backward of ``count`` blank images; weights, buffers and gradients are as they were afterwards.

        Raises:
            torch.OutOfMemoryError: the device's memory does not hold them.
        """
        images, labels = self._forward.blank(count)
        weights = [weight for weight in self._model.parameters() if weight.requires_grad]
        with _undone(self._model):
            # not backward(), which DistributedDataParallel takes for its own step, perhaps in the middle of one
            torch.autograd.grad(self._forward(images, labels)[0], weights, allow_unused=True)


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
