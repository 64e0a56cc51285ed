"""The five kernels in Triton, for CUDA: ``plain.py`` says what they compute; here only the memory should limit them.

Planes are float32, bfloat16 or float16, arithmetic is float32. Every large array is read or written once. What one
program cannot finish of a reduction goes through small partial results that a second launch joins in a fixed order, so
the same input gives the same bits. How the work is cut depends on the shape of the planes alone (``tiles.py``).

The functions are called as they are, or as the operators ``whatwhere::*``, for which they are registered on import.
"""

from whatwhere.ops.triton.gate import apply
from whatwhere.ops.triton.gradients import apply_gradients, map_gradient
from whatwhere.ops.triton.operators import register
from whatwhere.ops.triton.pooling import pool, pool_weight_gradient

__all__ = ["apply", "apply_gradients", "map_gradient", "pool", "pool_weight_gradient"]

register()
