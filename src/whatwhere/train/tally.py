"""Loss and accuracy summed where they arise, read seldom: each reading makes a GPU wait."""

import math

import torch
from torch import Tensor

__all__ = ["Tally"]


class Tally:
    """The mean loss and accuracy of what it was shown so far.

    Between two calls of `read` nothing leaves the device: one float32 and one integer a batch are kept there.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Tensor, Tensor, int]] = []
        self._losses: list[float] = []
        self._hits = 0
        self.images = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Takes in a batch: its mean ``loss`` (0-dim), ``logits`` (B, classes) and ``labels`` (B,)."""
        hits = (logits.detach().argmax(1) == labels).sum()
        self._waiting.append((loss.detach(), hits, len(labels)))

    def read(self) -> tuple[int, float] | None:
        """Brings the sums up to date; the number (from 1) and loss of the first batch whose loss is not finite."""
        if not self._waiting:
            return None
        losses, hits, sizes = zip(*self._waiting, strict=True)
        self._waiting.clear()
        self._hits += int(torch.stack(hits).sum())
        values = torch.stack(losses).tolist()
        seen = len(self._losses)
        self._losses += [loss * size for loss, size in zip(values, sizes, strict=True)]
        self.images += sum(sizes)
        return next(((seen + i, loss) for i, loss in enumerate(values, start=1) if not math.isfinite(loss)), None)

    @property
    def loss(self) -> float:
        """Mean over the images, as of the last `read`."""
        return math.fsum(self._losses) / self.images

    @property
    def accuracy(self) -> float:
        """Fraction of the images, as of the last `read`."""
        return self._hits / self.images
