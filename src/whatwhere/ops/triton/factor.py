"""What a gate makes of the number of a row and the number of a column, inside a kernel."""
# mypy: disable-error-code="import-untyped, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl
from torch import Tensor

__all__ = ["factor_of", "less_one", "numbers", "slopes_of", "way"]


def way(row: Tensor | None, column: Tensor | None, how: str) -> str:
    """How to join the two; a logit that stands alone is a sum with nothing."""
    return "sum" if how != "gates" and (row is None or column is None) else how


@triton.jit
def numbers(pointer, batch, at, size, HOW: tl.constexpr):
    """The numbers (batch, at) of an array (B, size), zero past its end; what changes nothing where there is none."""
    if pointer is not None:
        found = tl.load(pointer + batch * size + at, mask=at < size, other=0.0)
    elif HOW == "gates":
        found = tl.full(at.shape, 1.0, tl.float32)
    else:
        found = tl.full(at.shape, 0.0, tl.float32)
    return found


@triton.jit
def _joined(r, c, HOW: tl.constexpr):
    if HOW == "sum":
        joined = r + c
    elif HOW == "max":
        # a NaN wins, as in torch.maximum
        joined = tl.where((r > c) | (r != r), r, c)
    else:
        joined = r * c
    return joined


@triton.jit
def less_one(r, c, HOW: tl.constexpr):
    """The factor without strength, less one."""
    joined = _joined(r, c, HOW)
    return joined - 1.0 if HOW == "gates" else 1.0 / (1.0 + tl.exp(-joined))


@triton.jit
def factor_of(r, c, strength, HOW: tl.constexpr):
    """The factor; ``strength`` points to a number or is None. A small gate is not taken through 1 and back."""
    if strength is not None:
        factor = 1.0 + tl.load(strength) * less_one(r, c, HOW)
    elif HOW == "gates":
        factor = _joined(r, c, HOW)
    else:
        factor = 1.0 + less_one(r, c, HOW)
    return factor


@triton.jit
def slopes_of(r, c, HOW: tl.constexpr):
    """Derivatives of the factor without strength by r and by c; of two equal logits under ``max``, each has half."""
    if HOW == "gates":
        by_row, by_column = c, r
    else:
        gate = less_one(r, c, HOW)
        slope = gate * (1.0 - gate)
        if HOW == "product":
            by_row, by_column = slope * c, slope * r
        elif HOW == "max":
            share = tl.where(r > c, 1.0, tl.where(r == c, 0.5, 0.0))
            by_row, by_column = slope * share, slope * (1.0 - share)
        else:
            by_row, by_column = slope, slope
    return by_row, by_column
