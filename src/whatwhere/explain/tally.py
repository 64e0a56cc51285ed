"""What many batches say of one gate, in constant memory."""

import math
from typing import Any

import torch
from torch import Tensor

from whatwhere.explain.acting import Acting
from whatwhere.gates import BAM, CBAM, SE, ChannelGate, SpatialGate

__all__ = ["Tally", "span"]

# A factor is saturated in the outermost twentieths of the range that its gate can give.
_EDGE = 0.05


def span(gate: object) -> tuple[float, float] | None:
    """The least and the greatest factor that this kind of gate can give; None for kinds that others wrote."""
    if type(gate) is BAM:
        return 1.0, 2.0
    return (0.0, 1.0) if type(gate) in (CBAM, SE, ChannelGate, SpatialGate) else None


class Tally:
    """Sums over images; ``figures`` gives what they come to, under the names that a ``Diagnosis`` has for them.

    Args:
        span: the least and the greatest factor that there can be; None where that is not known.

    Memory: 0.2 MB where maps are large, and the channels of each class; none of it grows with the images.
    """

    def __init__(self, span: tuple[float, float] | None) -> None:
        self.images = 0
        self._span = span
        edge = 0.0 if span is None else _EDGE * (span[1] - span[0])
        self._edges = None if span is None else (span[0] + edge, span[1] - edge)
        # All sums stay on the gate's device until somebody asks.
        self._sums: Tensor | None = None  # mean, square, within, low and high share
        self._ends: Tensor | None = None  # minus the least, the greatest
        self._same: Tensor | None = None  # over images, on the lattice
        self._squares: Tensor | None = None
        self._profile: Tensor | None = None  # of the channels: sum and sum of squares over images
        self._raised: Tensor | None = None  # the greatest of each channel
        self._entropy: Tensor | None = None
        self._resized = False
        self._classes: dict[int, tuple[int, Tensor]] = {}

    def add(self, found: Acting, labels: Tensor | None = None) -> None:
        """Take in one batch; ``labels`` int64 (B,) if the classes are known."""
        inside = (found.square - found.mean.square()).clamp(min=0)
        sums = [found.mean.sum(), found.square.sum(), inside.sum()]
        if self._edges is not None:
            sums.append((found.lattice < self._edges[0]).double().mean() * len(found.mean))
            sums.append((found.lattice > self._edges[1]).double().mean() * len(found.mean))
        self._sums = _sum(self._sums, torch.stack(sums))
        self._ends = _most(self._ends, found.ends * found.ends.new_tensor((-1.0, 1.0)))
        self.images += len(found.mean)
        self._compare(found.lattice.double())
        self._look_at_positions(found.positions)
        self._look_at_channels(found.channels, labels)

    def _compare(self, lattice: Tensor) -> None:
        self._resized |= self._same is not None and self._same.shape != lattice.shape[1:]
        if not self._resized:
            self._same = _sum(self._same, lattice.sum(0))
            self._squares = _sum(self._squares, lattice.square().mean((1, 2)).sum())

    def _look_at_positions(self, positions: Tensor | None) -> None:
        if positions is None or positions.shape[1] < 2:
            return
        weights = (positions.double() - (self._span or (0.0,))[0]).clamp(min=0)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        entropy = torch.special.entr(weights).sum() / math.log(positions.shape[1])
        self._entropy = _sum(self._entropy, entropy)

    def _look_at_channels(self, channels: Tensor | None, labels: Tensor | None) -> None:
        if channels is None:
            return
        wide = channels.double()
        self._profile = _sum(self._profile, torch.stack((wide.sum(0), wide.square().sum(0))))
        self._raised = _most(self._raised, wide.amax(0))
        if labels is None:
            return
        for label in torch.unique(labels).tolist():
            of_class = wide[labels.to(wide.device) == label]
            count, total = self._classes.get(label, (0, torch.zeros_like(wide[0])))
            self._classes[label] = count + len(of_class), total + of_class.sum(0)

    def figures(self) -> dict[str, Any]:
        """``images``, ``mean``, ``sd`` and so on; None where it cannot be had, or is not finite."""
        n = self.images
        if self._sums is None or self._ends is None:
            return {"images": n}
        mean, square, within, *shares = (self._sums / n).tolist()
        low, high = self._ends.tolist()
        found: dict[str, float | None] = {
            "mean": mean,
            "sd": math.sqrt(max(square - mean**2, 0.0)),
            "low": -low,
            "high": high,
            "sd_within": math.sqrt(within),
            "sd_images": self._between_images(),
            "entropy": None if self._entropy is None else float(self._entropy) / n,
            "classes": self._between_classes(),
        }
        if self._edges is not None:
            found |= {"saturated_low": shares[0], "saturated_high": shares[1], "dead": self._dead(self._edges[0])}
        return {"images": n, **{key: None if value is None else _finite(value) for key, value in found.items()}}

    def _between_images(self) -> float | None:
        if self.images < 2 or self._same is None or self._squares is None or self._resized:
            return None
        mean = self._same / self.images
        return math.sqrt(max(float(self._squares / self.images - mean.square().mean()), 0.0))

    def _dead(self, edge: float) -> float | None:
        return None if self._raised is None else float((self._raised < edge).double().mean())

    def _between_classes(self) -> float | None:
        """Adjusted for the share that classes without any meaning would have by chance; never below 0."""
        n, groups = sum(count for count, _ in self._classes.values()), len(self._classes)
        if self._profile is None or groups < 2 or n <= groups or n != self.images:
            return None
        middle = self._profile[0] / n
        total = float((self._profile[1] / n - middle.square()).sum())
        among = sum(count * float((sums / count - middle).square().sum()) for count, sums in self._classes.values())
        if total <= 1e-12 * float(middle.square().sum()):
            return None
        return max(0.0, 1 - (1 - among / n / total) * (n - 1) / (n - groups))


def _sum(so_far: Tensor | None, more: Tensor) -> Tensor:
    return more if so_far is None else so_far + more


def _most(so_far: Tensor | None, more: Tensor) -> Tensor:
    return more if so_far is None else torch.maximum(so_far, more)


def _finite(value: float) -> float | None:
    """JSON has no word for NaN and infinity."""
    return value if math.isfinite(value) else None
