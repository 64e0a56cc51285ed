"""Pure functions of tensors that gates are made of."""

from whatwhere.ops.reference import apply_factor, combine_logits, pool_channels, pool_positions

__all__ = ["apply_factor", "combine_logits", "pool_channels", "pool_positions"]
