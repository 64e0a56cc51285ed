"""How well a network does on images it is not trained on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.data import Splits
from whatwhere.data.feed import Normaliser
from whatwhere.errors import RunError
from whatwhere.train.feeding import in_order
from whatwhere.train.ranks import Ranks
from whatwhere.train.tally import Tally, hits

__all__ = ["Evaluation", "check_logits", "evaluate", "laid_out"]


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy, and the fractions of images whose label has the highest logit, or is among the first five."""

    loss: float
    accuracy: float
    top5: float


def laid_out(images: Tensor, channels_last: bool) -> Tensor:
    """The images in a network's memory format; changed while they are bytes, being fewer."""
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images


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
    images: Any,
    splits: Splits,
    *,
    channels_last: bool = False,
    batch_size: int = 500,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Runs every image once through the network, which is left in eval mode; a caller's autocast applies.

    Args:
        model: on any device; the images go there.
        images: the part to look at, such as ``splits.validation``: an `ImageSet` or a stream.
        splits: for the classes, mean and std.
        channels_last: memory format of the images, best the one of the weights.
        batch_size: images a forward pass; changes nothing but speed and memory.
        ranks: the processes that share the work; all get the result of the whole.

    Raises:
        RunError: there is no image, or the network's output does not fit the classes.
    """
    if len(images) == 0:
        raise RunError(f"evaluate: there is no image to look at in this part of '{splits.name}'")
    ranks = ranks or Ranks()
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    normalised = Normaliser(splits.mean, splits.std, device)
    model.eval()
    tally = Tally()
    for batch, labels in in_order(images, batch_size, ranks, device):
        logits = model(normalised(laid_out(batch, channels_last)))
        check_logits(logits, splits)
        logits = logits.float()
        right = torch.stack([hits(logits, labels), hits(logits, labels, among=5)])
        tally.add(functional.cross_entropy(logits, labels), right, len(labels))
    tally.read()
    loss, right_ones, fives, count = ranks.sum(tally.totals()).tolist()
    return Evaluation(loss / count, right_ones / count, fives / count)
