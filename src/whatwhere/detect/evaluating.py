"""What a detector finds in a part of a set."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from whatwhere.data.detection import DetectionPart
from whatwhere.detect.detections import Detections, detections
from whatwhere.errors import RunError
from whatwhere.modes import evaluating
from whatwhere.train.ranks import Ranks

__all__ = ["evaluate"]


@torch.no_grad()
def evaluate(
    model: nn.Module,
    part: DetectionPart,
    *,
    batch_size: int,
    images: Iterable[Tensor] | None = None,
    ranks: Ranks | None = None,
) -> list[Detections]:
    """Runs every image once through a detector in eval mode; every module has its own mode again afterwards.

    Args:
        model: as torchvision's detectors are called, on any device; the images go there. A caller's autocast applies.
        part: the images.
        batch_size: images a forward pass, at most: a detector that pads the images of a batch to the largest of them
            gets images of one size together, so that no image is seen with a rim that it has not by itself.
        images: uint8 (3, H, W) each, those of this process's share of the part in its order, from a reader that is
            quicker than ``part.image``, which is asked otherwise.
        ranks: the processes that share the work; all get the result of the whole.

    Returns:
        What was found in each image, in the part's order, on the CPU.

    Raises:
        RunError: ``batch_size`` is below one; ``images`` are more or fewer than the share.
        DataError: an image cannot be read.
    """
    if batch_size < 1:
        raise RunError(f"evaluate(batch_size={batch_size}): a batch has at least one image")
    ranks = ranks or Ranks()
    start, stop = ranks.share(len(part))
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    reader = iter(map(part.image, range(start, stop)) if images is None else images)
    rows, done = [torch.empty(0, 7, dtype=torch.float64)], start
    with evaluating(model):
        for batch in _batches(reader, batch_size, alike=not _takes_squares(model)):
            outputs = model([image.to(device).float() / 255 for image in batch])
            rows += [_rows(index, detections(output)) for index, output in enumerate(outputs, done)]
            done += len(batch)
    if done != stop:
        raise RunError(
            "evaluate(model, part, images=images): the images are those of this process's share of the part",
            got=f"{done - start} images for a share of {stop - start}",
            fix="give every image of the share once, in its order",
        )
    return _unrolled(ranks.joined(torch.cat(rows)), len(part))


def _batches(images: Iterator[Tensor], size: int, *, alike: bool) -> Iterator[list[Tensor]]:
    """So many images at most; where they are to be alike, a batch ends where the next image is of another size."""
    batch: list[Tensor] = []
    for image in images:
        if batch and (len(batch) == size or (alike and image.shape != batch[0].shape)):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch


def _takes_squares(model: nn.Module) -> bool:
    return getattr(getattr(model, "transform", None), "fixed_size", None) is not None


def _rows(index: int, found: Detections) -> Tensor:
    """float64 (n, 7): the image, the label, the score, the box; exact, and one tensor to exchange."""
    labels, scores = found.labels.double(), found.scores.double()
    return torch.cat([torch.stack([torch.full_like(scores, index), labels, scores], 1), found.boxes.double()], 1)


def _unrolled(rows: Tensor, images: int) -> list[Detections]:
    ends = rows[:, 0].long().bincount(minlength=images).cumsum(0).tolist()
    parts = (rows[start:stop] for start, stop in pairwise([0, *ends]))
    return [Detections(one[:, 3:].float(), one[:, 1].long(), one[:, 2].float()) for one in parts]
