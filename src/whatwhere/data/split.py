"""Training and validation images drawn from one pool, and the brightness of the training images."""

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from whatwhere.errors import DataError

__all__ = ["Part", "assign", "brightness", "cut", "split"]

_CHUNK = 4096


def split(labels: Tensor, *, validation: float, seed: int, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Which images to learn from and which to choose by, stratified by class.

    The pool is shuffled by ``seed``, then ordered so that every stretch of it has the pool's class proportions;
    validation is its beginning, training what follows. A smaller ``limit`` therefore takes a subset of a larger one's
    images and leaves validation as it was.

    Args:
        labels: int64 (N,), of the pool.
        validation: the share of the pool, in [0, 1).
        seed: of a CPU `torch.Generator`.
        limit: how many training images to keep; None keeps all.

    Returns:
        Indices of training and of validation images, disjoint, each ascending.

    Raises:
        DataError: the share, the seed or the limit is out of range, or leaves a part empty.
    """
    return cut("load", len(labels), lambda: _stratified(labels, seed), validation=validation, limit=limit)


def cut(
    verb: str, count: int, order: Callable[[], Tensor], *, validation: float, limit: int | None
) -> tuple[Tensor, Tensor]:
    """The beginning of an order of ``count`` images to choose by, and what follows, or some of it, to learn from.

    Args:
        verb: the function that the user called, for messages.
        count: of images.
        order: gives the order, int64 (count,); asked for once the numbers are known to be in range.
        validation: as in `split`, likewise ``limit``, the result and the errors.
        limit: likewise.
    """
    held = round(count * validation) if 0 <= validation < 1 else -1
    if held < 0 or (held == 0 and validation > 0) or held >= count:
        raise DataError(
            f"{verb}(validation={validation}): the share must lie in [0, 1) and leave an image in either part",
            got=f"{count} images to share out",
        )
    if limit is not None and not 1 <= limit <= count - held:
        raise DataError(
            f"{verb}(limit={limit}): the limit must lie between 1 and the number of training images",
            got=f"{count - held} training images, {held} held for validation",
        )
    images = order()
    stop = count if limit is None else held + limit
    return images[held:stop].sort().values, images[:held].sort().values


class Part(Protocol):
    """Labelled images, in memory or not, of which some can be taken."""

    @property
    def labels(self) -> Tensor:
        """int64 (N,)."""

    def take(self, indices: Tensor) -> Self:
        """Those at ``indices``, int64 (M,)."""


AnyPart = TypeVar("AnyPart", bound=Part)


def assign(
    parts: dict[str, AnyPart], *, validation: float, seed: int, limit: int | None
) -> tuple[AnyPart, AnyPart, AnyPart]:
    """What to learn from, choose by and report, of the parts ``train`` and ``val`` and, or, ``test`` of a set.

    With ``test``, ``val`` is what is chosen by; without it, ``val`` is what is reported, and the images to choose by
    are split from ``train``, as they are where there is no ``val``.

    Args:
        parts: by name.
        validation: share of ``train``; without effect where ``val`` and ``test`` both exist.
        seed: of the split.
        limit: training images kept.

    Raises:
        DataError: as `split` does.
    """
    train, own = parts["train"], {"val", "test"} <= set(parts)
    kept, held = split(train.labels, validation=0 if own else validation, seed=seed, limit=limit)
    choose = parts["val"] if own else train.take(held)
    return train.take(kept), choose, parts["test" if "test" in parts else "val"]


def _stratified(labels: Tensor, seed: int) -> Tensor:
    """A permutation of which every stretch has about the whole's class proportions; ties fall by the shuffle."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    drawn = labels[shuffled]
    place = torch.zeros(len(labels), dtype=torch.float64)
    for label in range(int(labels.max()) + 1):
        (where,) = torch.nonzero(drawn == label, as_tuple=True)
        place[where] = (torch.arange(len(where), dtype=torch.float64) + 0.5) / len(where)
    return shuffled[place.argsort(stable=True)]


def brightness(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, with 255 as 1.

    Counted in whole numbers, so it does not depend on the order of the images or on threads.

    Args:
        images: uint8 (N, C, H, W), at least one image.
    """
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(channels):
            counts[channel] += torch.bincount(images[start : start + _CHUNK, channel].flatten(), minlength=256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts.double() / counts.sum(1, keepdim=True)
    mean = share @ levels
    spread = (share * (levels - mean[:, None]).square()).sum(1).sqrt().clamp(min=1 / 255)
    return tuple(mean.tolist()), tuple(spread.tolist())
