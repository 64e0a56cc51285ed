"""An order of images in which those of a batch have much the same shape, so that little of it is padding."""

import torch
from torch import Tensor

__all__ = ["grouped_order"]


def grouped_order(sizes: Tensor, generator: torch.Generator, batch_size: int) -> Tensor:
    """A random permutation whose batches are upright or not, each as a whole.

    Every image comes once. Of the upright images and of the others, whole batches are made at random; what is left of
    both is mixed, at most two batches less two images, others each time. Batches come in random order, a last one that
    is not whole at the end. What processes share is the batch, so their number changes nothing.

    Args:
        sizes: int64 (M, 2), rows and columns of each image.
        generator: of all chance, on the CPU.
        batch_size: images a batch, of all processes together.

    Returns:
        int64 (M,).
    """
    order = torch.randperm(len(sizes), generator=generator)
    upright = (sizes[:, 0] > sizes[:, 1])[order]
    groups = [order[upright], order[~upright]]
    whole = [len(group) // batch_size * batch_size for group in groups]
    mixed = torch.cat([group[end:] for group, end in zip(groups, whole, strict=True)])
    mixed = mixed[torch.randperm(len(mixed), generator=generator)]
    end = len(mixed) // batch_size * batch_size
    parts = [group[:stop] for group, stop in zip(groups, whole, strict=True)]
    batches = torch.cat([*parts, mixed[:end]]).view(-1, batch_size)
    shuffled = batches[torch.randperm(len(batches), generator=generator)]
    return torch.cat([shuffled.flatten(), mixed[end:]])
