"""The formulas in plain torch: what every backend is compared with.

Shapes: B batch, C channels, S the spatial sizes (one, two or three of them), P pools.

The functions are leaves for ``torch.fx``: a symbolically traced network shows one node for each, so that the
decisions inside (dtype, number of dimensions) need no concrete tensor while tracing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from whatwhere.ops.plain import wide

__all__ = ["apply_factor", "combine_logits", "factor", "finish_block", "pool_channels", "pool_positions"]


@fx.wrap
def pool_positions(x: Tensor, pools: Sequence[str], spatial: Tensor | None = None) -> Tensor:
    """Describe every channel by pooling over all its positions, of ``x * spatial`` where that is given.

    ``avg`` is the mean, ``max`` the largest value, ``lp`` the 2-norm ``sqrt(sum x^2)`` and ``lse`` ``log(sum exp x)``,
    the four of the released CBAM. The gradient of ``max`` goes to the first maximal position in row-major order, and
    that of ``lp`` is zero for a channel that is zero everywhere.

    Shape: x (B, C, *S), spatial (B, 1, *S) -> (P, B, C), one row for each of ``pools``, in x's dtype; products and sums
    are in float32 or wider: in half precision a mean over a large map overflows or stalls.
    Cost: one read of x for each pool.
    """
    positions = tuple(range(2, x.ndim))
    dtype, summed = x.dtype, wide(x.dtype)
    x = x if spatial is None else x.to(summed) * spatial
    rows = []
    for pool in pools:
        if pool == "avg":
            row = x.mean(positions, dtype=summed)
        elif pool == "max":
            row = x.flatten(2).max(dim=2).values
        elif pool == "lp":
            row = torch.linalg.vector_norm(x, 2, positions, dtype=summed)
        else:
            row = x.to(summed).logsumexp(positions)
        rows.append(row.to(dtype))
    return torch.stack(rows)


@fx.wrap
def pool_channels(x: Tensor, pools: Sequence[str], channel: Tensor | None = None) -> Tensor:
    """Describe every position by pooling over all its channels (``avg`` or ``max``), the descriptor of CBAM eq. 3.

    With ``channel`` it is ``x * channel`` that is pooled. The gradient of ``max`` goes to the first maximal channel.

    Shape: x (B, C, *S), channel (B, C, 1, ...) -> (B, P, *S), one map for each of ``pools`` in order, in x's dtype.
    Cost: one read of x for each pool.
    """
    maps, dtype, summed = [], x.dtype, wide(x.dtype)
    x = x if channel is None else x.to(summed) * channel
    for pool in pools:
        pooled = x.mean(1, keepdim=True, dtype=summed) if pool == "avg" else x.max(1, keepdim=True).values
        maps.append(pooled.to(dtype))
    return torch.cat(maps, dim=1)


@fx.wrap
def combine_logits(channel: Tensor, spatial: Tensor, how: str) -> Tensor:
    """Join the logits of BAM's two branches by ``sum``, ``product`` or ``max`` (BAM table 1b).

    Shape: channel (B, C, 1, ...), spatial (B, 1 or C, *S) -> (B, C, *S).
    """
    if how == "sum":
        return channel + spatial
    if how == "product":
        return channel * spatial
    return torch.maximum(channel, spatial)


@fx.wrap
def factor(channel: Tensor | None, spatial: Tensor | None, how: str) -> Tensor:
    """What a gate multiplies its map by.

    ``gates`` is the product of two gates in (0, 1) (CBAM, SE), everything else ``1 + sigmoid`` of two logits that are
    joined by ``combine_logits`` (BAM). Either may be None.

    Shape: channel (B, C, 1, ...), spatial (B, 1 or C, *S) -> as much of (B, C, *S) as one of them spans.
    """
    if channel is None or spatial is None:
        joined: Tensor = spatial if channel is None else channel  # type: ignore[assignment]
    elif how == "gates":
        return channel * spatial
    else:
        joined = combine_logits(channel, spatial, how)
    return joined if how == "gates" else 1 + joined.sigmoid()


@fx.wrap
def apply_factor(x: Tensor, factor: Tensor, strength: Tensor | None) -> Tensor:
    """Multiply the map by a gate's factor; ``strength`` s blends the gate in, ``x * (1 + s (factor - 1))``.

    At s = 0 the result is x to the bit, whatever the finite factor, and the gradient of s is not zero; at s = 1 it is
    the gate. The output keeps x's dtype and memory format.

    Shape: x (B, C, *S), factor broadcastable to it, strength () -> (B, C, *S).
    Cost: one read and one write of x, as far as the backend fuses.
    """
    if strength is not None:
        factor = 1 + strength * (factor - 1)
    return x * factor.to(x.dtype)


@fx.wrap
def finish_block(x: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """The end of a residual block, as far as it is asked for: add ``residual``, then take the ReLU."""
    x = x if residual is None else x + residual
    return x.relu() if relu else x
