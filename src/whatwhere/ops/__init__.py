"""Pure functions of tensors that gates are made of."""

from whatwhere.ops.dispatch import backend, traced
from whatwhere.ops.reading import Reading, read
from whatwhere.ops.reference import apply_factor, combine_logits, factor, pool_channels, pool_positions

__all__ = [
    "Reading",
    "apply_factor",
    "backend",
    "combine_logits",
    "factor",
    "pool_channels",
    "pool_positions",
    "read",
    "traced",
]
