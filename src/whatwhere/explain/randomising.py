"""A network that has learnt nothing, to see whether a score notices."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from whatwhere.modes import evaluating

__all__ = ["randomised"]


def randomised(model: nn.Module, seed: int = 0, *, images: Tensor | None = None) -> nn.Module:
    """A copy of the network in which every parameter's values are shuffled.

    What was learnt is gone from all layers, gates included, and each keeps its scale. Layers of any library can be
    treated so; a parameter that is one number, as a gate's strength, stays as it is. Shared parameters stay shared.

    Args:
        model: left as it is, like torch's random state.
        seed: of the shuffles; the same on every device.
        images: a batch of what the model takes, at least two. Running statistics of batch norms describe the old
            network; in evaluation mode the new one would drift away from layer to layer. Those of this batch are
            taken instead.

    Returns:
        The copy, in the model's modes and on its devices, with the same requires_grad and without gradients.

    References: Adebayo et al. 2018, Sanity checks for saliency maps, who draw the weights anew. arXiv:1810.03292
    """
    copy = deepcopy(model)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.parameters():
            order = torch.randperm(parameter.numel(), generator=source).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view(parameter.shape))
    if images is not None:
        _take_statistics(copy, images)
    return copy


def _take_statistics(model: nn.Module, images: Tensor) -> None:
    """Sets the running statistics of all batch norms to those of one batch; everything else in evaluation mode."""
    norms = {module: module.momentum for module in model.modules() if isinstance(module, _BatchNorm)}
    with evaluating(model), torch.no_grad():
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        model(images)
    for norm, momentum in norms.items():
        norm.momentum = momentum
