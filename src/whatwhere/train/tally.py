"""The loss, and what is noted beside it, summed where they arise, read seldom: each reading makes a GPU wait."""

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
    """The mean loss, and the means of what is noted, over what it was shown so far, by all processes together.

    Between two calls of `read` nothing leaves the device: one float32 and a few numbers a batch are kept there.

    Args:
        ranks: the processes; each shows its part of the same batches, and all read at the same moment.
        state: of a tally to go on from, as `state` gives it.
    """

    def __init__(self, ranks: Ranks | None = None, state: dict[str, Any] | None = None) -> None:
        self._ranks = ranks or Ranks()
        self._waiting: list[tuple[Tensor, Tensor, int]] = []
        self._losses: list[float] = list(state["losses"]) if state else []
        self._noted: list[list[float]] = [list(row) for row in state["noted"]] if state else []
        self.images: int = state["images"] if state else 0

    def add(self, loss: Tensor, noted: Tensor, images: int) -> None:
        """Takes in a batch: its mean ``loss`` (0-dim), sums over its images (K,), and its size."""
        self._waiting.append((loss, noted, images))

    def read(self) -> tuple[int, float] | None:
        """Brings the sums up to date; the number (from 1) and loss of the first batch whose loss is not finite."""
        if not self._waiting:
            return None
        losses, noted, sizes = zip(*self._waiting, strict=True)
        self._waiting.clear()
        counts = torch.tensor(sizes, dtype=torch.float64)
        table = torch.vstack([torch.stack(losses).cpu().double() * counts, counts, torch.stack(noted).cpu().double().T])
        sums, images, *rows = self._ranks.sum(table).tolist()
        seen = len(self._losses)
        self._losses += sums
        self._noted = [before + row for before, row in zip(self._noted or [[] for _ in rows], rows, strict=True)]
        self.images += int(math.fsum(images))
        means = enumerate((loss / count for loss, count in zip(sums, images, strict=True)), start=seen + 1)
        return next(((step, loss) for step, loss in means if not math.isfinite(loss)), None)

    def state(self) -> dict[str, Any]:
        """What was read so far, in plain values."""
        return {"losses": list(self._losses), "noted": [list(row) for row in self._noted], "images": self.images}

    def totals(self) -> Tensor:
        """Sums of losses and of what was noted, and the images, as of the last `read`, float64 (K + 2,)."""
        return torch.tensor([math.fsum(self._losses), *map(math.fsum, self._noted), self.images], dtype=torch.float64)

    @property
    def loss(self) -> float:
        """Mean over the images, as of the last `read`."""
        return math.fsum(self._losses) / self.images

    @property
    def noted(self) -> list[float]:
        """What was noted, means over the images, as of the last `read`."""
        return [math.fsum(row) / self.images for row in self._noted]
