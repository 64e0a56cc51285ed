"""How well a network does on images it is not trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.data import ImageSet, Splits, batches, normalise
from whatwhere.errors import RunError
from whatwhere.train.tally import Tally

__all__ = ["Evaluation", "check_logits", "evaluate", "network_input"]


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy and the fraction of images whose highest logit is their label's."""

    loss: float
    accuracy: float


def network_input(images: Tensor, splits: Splits, *, channels_last: bool) -> Tensor:
    """Normalised float32 (B, C, H, W) of a uint8 batch; the format is changed on the bytes, being fewer."""
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return normalise(images, splits.mean, splits.std)


def check_logits(logits: Tensor, splits: Splits) -> None:
    """Looks at the shape only, so it costs nothing on any device.

    Raises:
        RunError: the network does not give one number for each class.
    """
    wanted = len(splits.classes)
    if logits.ndim != 2 or logits.shape[1] != wanted:
        raise RunError(
            f"train: a network for '{splits.name}' gives {wanted} numbers for each image, one for each class",
            got=f"an output of shape {tuple(logits.shape)}",
            fix=f"build the network with num_classes={wanted}",
        )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images: ImageSet,
    splits: Splits,
    *,
    channels_last: bool = False,
    batch_size: int = 500,
) -> Evaluation:
    """Runs every image once through the network, which is left in eval mode; a caller's autocast applies.

    Args:
        model: on the device of the images.
        images: the part to look at, such as ``splits.validation``.
        splits: for the classes, mean and std.
        channels_last: memory format of the images, best the one of the weights.
        batch_size: images a forward pass; changes nothing but speed and memory.

    Raises:
        RunError: there is no image, or the network's output does not fit the classes.
    """
    if len(images) == 0:
        raise RunError(f"evaluate: there is no image to look at in this part of '{splits.name}'")
    model.eval()
    tally = Tally()
    for batch, labels in batches(images, batch_size):
        logits = model(network_input(batch, splits, channels_last=channels_last))
        check_logits(logits, splits)
        logits = logits.float()
        tally.add(functional.cross_entropy(logits, labels), logits, labels)
    tally.read()
    return Evaluation(tally.loss, tally.accuracy)
