"""How long trials will take, from one training step of each network measured on this device."""

import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.experiments.arms import build_network
from whatwhere.experiments.environment import device
from whatwhere.experiments.spec import TrialSpec
from whatwhere.train import Recipe

__all__ = ["seconds_per_image"]

_STEPS = 3
# On a CPU a step of fewer images tells as much and ends sooner.
_CPU_BATCH = 16
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def seconds_per_image(spec: TrialSpec, shape: tuple[int, int, int], classes: int) -> float:
    """The median time of a forward and a backward, by its images; uncompiled, without data, optimiser and evaluation.

    Args:
        spec: for the network, the batch (at most 16 on a CPU), the precision and the memory format.
        shape: channels, rows and columns of an image.
        classes: outputs of the network.

    Raises:
        HostError, AttachError, GateError: the network cannot be built.
    """
    where, recipe = device(), spec.recipe
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    batch = min(recipe.batch_size, _CPU_BATCH) if where.type == "cpu" else recipe.batch_size
    model = build_network(spec, shape, classes).model.to(where, memory_format=layout)  # type: ignore[call-overload]
    images = torch.zeros(batch, *shape, device=where).contiguous(memory_format=layout)
    labels = torch.zeros(batch, dtype=torch.int64, device=where)
    while True:
        try:
            return _median(model, images[:batch], labels[:batch], recipe)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2


def _median(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> float:
    dtype, where = _DTYPES.get(recipe.precision), images.device
    times = []
    for _ in range(_STEPS + 1):
        start = _now(where)
        with torch.autocast(where.type, dtype, enabled=dtype is not None):
            logits = model(images)
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))
        times.append(_now(where) - start)
    return statistics.median(times[1:]) / len(labels)


def _now(where: torch.device) -> float:
    if where.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
