"""Whether a map shows what the network goes by: its answer while the map's highest positions come or go."""

import warnings
from collections.abc import Callable
from importlib import import_module
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.errors import DataError, RunError
from whatwhere.explain.scores import on_pixels
from whatwhere.modes import evaluating

__all__ = ["PERCENTILES", "blurred", "insertion_deletion", "road"]

PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Shares of the pixels that ROAD keeps, in percent."""
# RISE blurs pictures of 224 pixels with a Gaussian of 5.
_SIGMA = 5 / 224


def blurred(images: Tensor) -> Tensor:
    """Gaussian blur of 5 pixels for every 224 of the shorter side, cut off at three of these; edges go on as they are.

    Shape: float (B, C, H, W) -> the same.
    """
    sigma = _SIGMA * min(images.shape[2:])
    radius = ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = (offsets / sigma).square().div(-2).softmax(0).to(images)
    channels = images.shape[1]
    padded = functional.pad(images, (radius,) * 4, mode="replicate")
    across = functional.conv2d(padded, weights.expand(channels, 1, 1, -1), groups=channels)
    return functional.conv2d(across, weights[:, None].expand(channels, 1, -1, 1), groups=channels)


def insertion_deletion(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    steps: int = 20,
    batch_size: int = 32,
    deletion_to: Callable[[Tensor], Tensor] = torch.zeros_like,
    insertion_from: Callable[[Tensor], Tensor] = blurred,
) -> tuple[Tensor, Tensor]:
    """Areas under the class's probability while pixels come or go in the order of the map, highest first.

    Deletion goes from the image to ``deletion_to(image)``, and a low area is good; insertion goes from
    ``insertion_from(image)`` to the image, and a high area is good. After each step k of ``steps`` the share
    k / ``steps`` of the pixels, to the nearest pixel, has been changed; the area is the trapezoid rule's over the true
    shares, both ends included. A pixel changes in all channels at once. Equal values come in an order drawn once for
    the image's size, so that a map that is the same everywhere is a random order.

    An image's numbers do not depend on the others in the batch: each goes through the network with its own steps alone.
    What a map without information gets depends on the network and on how scattered the map's order is: to know it, give
    ``torch.ones(B, 1, 1)``, or maps of noise of the same size as those that are judged.

    Cost: 2 (``steps`` + 1) forwards an image, in evaluation mode and without gradients; modes are put back.

    Args:
        model: images to logits (N, K).
        images: float (B, C, H, W), normalised as the network was trained.
        maps: finite numbers (B, h, w); ``on_pixels`` brings them to (H, W).
        classes: integers (B,), whose probability it is.
        steps: at least 1.
        batch_size: most images in one forward.
        deletion_to: of (1, C, H, W), what deleted pixels become; by default zero, the mean after normalisation.
        insertion_from: of (1, C, H, W), what pixels are before they are inserted; by default ``blurred``.

    Returns:
        Insertion and deletion, float32 (B,) on the CPU, 0 to 1.

    Raises:
        DataError: a map is not finite, or the batch's parts differ in number.

    References: Petsiuk et al. 2018, RISE, section 4.2. arXiv:1806.07421
    """
    order = _ranks("insertion_deletion(model, images, maps, classes)", images, maps, classes)
    pixels = order[0].numel()
    counts = torch.tensor(sorted({round(pixels * step / steps) for step in range(steps + 1)}))
    shares = counts.float() / pixels
    areas = []
    with evaluating(model), torch.no_grad():
        for image, rank, label in zip(torch.split(images, 1), order, classes.tolist(), strict=True):
            changed = (rank < counts[:, None, None])[:, None].to(images.device)
            given = torch.where(changed, image, insertion_from(image))
            taken = torch.where(changed, deletion_to(image), image)
            curves = _probabilities(model, torch.cat([given, taken]), label, batch_size).view(2, -1)
            areas.append(torch.trapezoid(curves, shares))
    insertion, deletion = torch.stack(areas).unbind(1)
    return insertion, deletion


def road(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    percentiles: tuple[int, ...] = PERCENTILES,
) -> Tensor:
    """Remove and debias: how much further the class's probability falls without the highest pixels than the lowest.

    Removed pixels are not blanked but interpolated from their neighbours with a little noise, so that their outline
    tells the network nothing. It is grad-cam's ROADCombined, half the difference of the two probabilities, mean over
    ``percentiles``. In place of the map it gets the order of its pixels, ties as in ``insertion_deletion`` (it would
    remove them together), and every image gets the same noise.

    Cost: four forwards a percentile and image, one image at a time, and two sparse linear systems of up to H * W
    unknowns on the CPU, which at 224 pixels take seconds an image.

    Args:
        model, images, maps, classes: as in ``insertion_deletion``.
        percentiles: shares of the pixels that are kept, in percent, each above 0 and below 100.

    Returns:
        float32 (B,) on the CPU, -0.5 to 0.5; around 0 for a map without any information, and high is good.

    Raises:
        RunError: grad-cam is not installed.
        DataError: as in ``insertion_deletion``.

    References: Rong et al. 2022, A consistent and efficient evaluation strategy for attribution methods.
    arXiv:2202.00449
    """
    call = "road(model, images, maps, classes)"
    try:
        library = import_module("pytorch_grad_cam.metrics.road")
    except ImportError as error:
        raise RunError(f"{call}: grad-cam is not installed", got=str(error), fix="pip install grad-cam") from None
    order = _ranks(call, images, maps, classes)
    highest_first = 1 - order / order[0].numel()
    score = library.ROADCombined(list(percentiles))
    values = []
    with evaluating(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the library's own calls of NumPy
        for image, relevance, label in zip(torch.split(images, 1), highest_first, classes.tolist(), strict=True):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)
                values.append(float(score(image, relevance[None].numpy(), [_probability(label)], model)[0]))
    return torch.tensor(values)


def _ranks(call: str, images: Tensor, maps: Tensor, classes: Tensor) -> Tensor:
    """The place of each pixel in the order of its map, int64 (B, H, W) on the CPU; 0 is the highest."""
    if images.ndim != 4 or maps.ndim != 3 or classes.ndim != 1 or not len(images) == len(maps) == len(classes):
        raise DataError(
            f"{call}: images must be (B, C, H, W), maps (B, h, w) and classes (B,)",
            got=f"images {tuple(images.shape)}, maps {tuple(maps.shape)}, classes {tuple(classes.shape)}",
        )
    height, width = images.shape[2:]
    values = on_pixels(call, maps, (height, width)).flatten(1)
    # a stable sort of shuffled pixels: among equal values, those of the upper left corner do not come first
    shuffled = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))
    pixels = shuffled[values[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return pixels.argsort(1).view(-1, height, width)


def _probabilities(model: nn.Module, images: Tensor, label: int, batch_size: int) -> Tensor:
    return torch.cat([_probability(label)(model(part).T).cpu() for part in torch.split(images, batch_size)])


def _probability(label: int) -> Callable[[Tensor], Tensor]:
    """What gives a class's probability from logits (K, ...)."""
    return lambda logits: logits.float().softmax(0)[label]
