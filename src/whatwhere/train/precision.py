"""The arithmetic of a forward pass."""

import torch

from whatwhere.train.recipe import Recipe

__all__ = ["autocast"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The recipe's precision, as a context in which networks run."""
    return torch.autocast(device.type, dtype=_DTYPES[recipe.precision], enabled=recipe.precision != "fp32")
