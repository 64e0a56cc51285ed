"""Inputs to measure a module with: tensors as given, shapes filled in the module's own dtype and place."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from whatwhere.errors import HostError

__all__ = ["Input", "as_tensors", "home"]

Input = Tensor | tuple[int, ...]


def home(module: nn.Module) -> tuple[torch.dtype, torch.device]:
    """The dtype and device of the module's first floating parameter or buffer; torch's defaults when it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype, tensor.device
    return torch.get_default_dtype(), torch.get_default_device()


def as_tensors(
    module: nn.Module,
    inputs: Sequence[Input],
    create: Callable[[tuple[int, ...], torch.dtype, torch.device], Tensor],
    call: str,
) -> tuple[Tensor, ...]:
    """Fills the shapes among ``inputs`` with ``create(shape, dtype, device)`` at the module's ``home``.

    Args:
        module: whose dtype and device count.
        inputs: tensors, which are returned as they are, and shapes, batch included.
        create: makes a tensor.
        call: what the user called, for the error's first line.

    Raises:
        HostError: no inputs, or one that is neither a tensor nor a tuple of integers of at least 1.
    """
    example = "for example (1, 3, 224, 224)"
    if not inputs:
        raise HostError(f"{call}: needs an input, a tensor or a shape with its batch", fix=example)
    dtype, device = home(module)
    tensors = []
    for given in inputs:
        if isinstance(given, Tensor):
            tensors.append(given)
        elif isinstance(given, tuple) and given and all(isinstance(n, int) and n > 0 for n in given):
            tensors.append(create(tuple(given), dtype, device))
        else:
            raise HostError(
                f"{call}: an input is a tensor or a shape of positive integers", got=repr(given), fix=example
            )
    return tuple(tensors)
