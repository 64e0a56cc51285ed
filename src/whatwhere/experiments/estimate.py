"""How long trials will take, from one training step of each network measured on this device."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.experiments.arms import build_network
from whatwhere.experiments.detecting import build_detector
from whatwhere.experiments.environment import device
from whatwhere.experiments.spec import TrialSpec
from whatwhere.train import Recipe
from whatwhere.train.precision import autocast

__all__ = ["seconds_per_image"]

_STEPS = 3
# Seconds after which what is known has to do: a large detector's step takes a CPU a minute.
_ENOUGH = 20.0
# On a CPU a step of fewer images tells as much and ends sooner.
_CPU_BATCH = {"classify": 16, "detect": 2}

# The loss of so many images.
_Loss = Callable[[int], Tensor]


def seconds_per_image(spec: TrialSpec, shape: tuple[int, int, int], classes: int) -> float:
    """The median time of a forward and a backward, by its images; uncompiled, without data, optimiser and evaluation.

    Three steps after one to warm up, or as many as begin within 20 seconds. Detectors have fresh weights and one object
    in each image.

    Args:
        spec: for the network, the batch (at most 16 on a CPU, 2 of detectors), the precision and the memory format.
        shape: channels, rows and columns of an image.
        classes: outputs of the network; of detectors without the background.

    Raises:
        HostError, AttachError, GateError: the network cannot be built.
    """
    where, recipe = device(), spec.recipe
    batch = min(recipe.batch_size, _CPU_BATCH[spec.task]) if where.type == "cpu" else recipe.batch_size
    loss = (_detector if spec.task == "detect" else _classifier)(spec, shape, classes, where)
    while True:
        try:
            return _median(partial(loss, batch), recipe, where) / batch
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2


def _classifier(spec: TrialSpec, shape: tuple[int, int, int], classes: int, where: torch.device) -> _Loss:
    layout = torch.channels_last if spec.recipe.channels_last else torch.contiguous_format
    model = build_network(spec, shape, classes).model.to(where, memory_format=layout)  # type: ignore[call-overload]

    def loss(batch: int) -> Tensor:
        images = torch.zeros(batch, *shape, device=where).contiguous(memory_format=layout)
        return functional.cross_entropy(model(images).float(), torch.zeros(batch, dtype=torch.int64, device=where))

    return loss


def _detector(spec: TrialSpec, shape: tuple[int, int, int], classes: int, where: torch.device) -> _Loss:
    layout = torch.channels_last if spec.recipe.channels_last else torch.contiguous_format
    model = build_detector(spec, classes, weights=False).model.to(where, memory_format=layout)  # type: ignore[call-overload]
    _, rows, columns = shape
    box = torch.tensor([[columns / 4, rows / 4, 3 * columns / 4, 3 * rows / 4]], device=where)
    target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64, device=where)}
    image = torch.zeros(shape, device=where)

    def loss(batch: int) -> Tensor:
        losses = model([image] * batch, [target] * batch)
        return torch.stack([part.float() for part in losses.values()]).sum()

    return loss


def _median(loss: Callable[[], Tensor], recipe: Recipe, where: torch.device) -> float:
    times: list[float] = []
    while len(times) <= _STEPS and sum(times) < _ENOUGH:
        start = _now(where)
        with autocast(recipe, where):
            found = loss()
        torch.autograd.backward(found)
        times.append(_now(where) - start)
    return statistics.median(times[1:] or times)


def _now(where: torch.device) -> float:
    if where.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
