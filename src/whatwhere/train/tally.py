"""Loss and accuracy summed where they arise, read seldom: each reading makes a GPU wait."""

import math
from typing import Any

import torch
from torch import Tensor

from whatwhere.train.ranks import Ranks

__all__ = ["Tally", "hits"]


def hits(logits: Tensor, labels: Tensor, among: int = 1) -> Tensor:
    """How many of ``logits`` (B, classes) have their label ``among`` the highest, int64 on the device."""
    if among == 1:
        return (logits.detach().argmax(1) == labels).sum()
    highest = logits.detach().topk(min(among, logits.shape[1]), dim=1).indices
    return (highest == labels[:, None]).sum()


class Tally:
    """The mean loss and accuracy of what it was shown so far, by all processes together.

    Between two calls of `read` nothing leaves the device: one float32 and one integer a batch are kept there.

    Args:
        ranks: the processes; each shows its part of the same batches, and all read at the same moment.
        state: of a tally to go on from, as `state` gives it.
    """

    def __init__(self, ranks: Ranks | None = None, state: dict[str, Any] | None = None) -> None:
        self._ranks = ranks or Ranks()
        self._waiting: list[tuple[Tensor, Tensor, int]] = []
        self._losses: list[float] = list(state["losses"]) if state else []
        self._hits: int = state["hits"] if state else 0
        self.images: int = state["images"] if state else 0

    def add(self, loss: Tensor, right: Tensor, images: int) -> None:
        """Takes in a batch: its mean ``loss`` and number of ``right`` answers, both 0-dim, and its size."""
        self._waiting.append((loss, right, images))

    def read(self) -> tuple[int, float] | None:
        """Brings the sums up to date; the number (from 1) and loss of the first batch whose loss is not finite."""
        if not self._waiting:
            return None
        losses, right, sizes = zip(*self._waiting, strict=True)
        self._waiting.clear()
        counts = torch.tensor(sizes, dtype=torch.float64)
        table = torch.stack([torch.stack(losses).cpu().double() * counts, torch.stack(right).cpu().double(), counts])
        sums, right_sums, images = self._ranks.sum(table).tolist()
        seen = len(self._losses)
        self._losses += sums
        self._hits += int(math.fsum(right_sums))
        self.images += int(math.fsum(images))
        means = enumerate((loss / count for loss, count in zip(sums, images, strict=True)), start=seen + 1)
        return next(((step, loss) for step, loss in means if not math.isfinite(loss)), None)

    def state(self) -> dict[str, Any]:
        """What was read so far, in plain values."""
        return {"losses": list(self._losses), "hits": self._hits, "images": self.images}

    def totals(self) -> Tensor:
        """Sum of losses, right answers and images as of the last `read`, float64 (3,)."""
        return torch.tensor([math.fsum(self._losses), self._hits, self.images], dtype=torch.float64)

    @property
    def loss(self) -> float:
        """Mean over the images, as of the last `read`."""
        return math.fsum(self._losses) / self.images

    @property
    def accuracy(self) -> float:
        """Fraction of the images, as of the last `read`."""
        return self._hits / self.images
