"""Compile for an H100 what would be launched there, on a machine without a GPU, and look at the code that comes out.

A program of its own: it tells Triton of a device that is not there.
"""

import re
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from whatwhere.ops import triton as kernels
from whatwhere.ops.planes import Pooled
from whatwhere.ops.triton import gate, gradients, pooling, tiles

WIDE = re.compile(r"(?:ld|st)\.global\.(?:\w+\.)*v4\.b32|(?:ld|st)\.global\.v4")


class Hopper:
    """As much of a driver as compiling asks for."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


def compile_only(kernel: Any, programs: int, like: torch.Tensor, *arguments: Any, **constants: Any) -> None:
    """Stands in for ``tiles.launch``."""
    made = kernel.warmup(*arguments, grid=(programs,), **constants, num_warps=4, enable_fp_fusion=True)
    code = made.asm["ptx"]
    assert ".local" not in code, f"{kernel.__name__} spills registers"
    assert "atom" not in code, f"{kernel.__name__} has atomics, whose order nobody knows"
    if like.shape[2] % 8 == 0 and kernel is not pooling._combine:
        assert WIDE.search(code), f"{kernel.__name__} has no 16-byte loads"
    NAMES.add(kernel.__name__)


NAMES: set[str] = set()


def main() -> None:
    driver.set_active(Hopper())
    for module in (gate, gradients, pooling):
        assert module.launch is tiles.launch
        module.launch = compile_only  # type: ignore[assignment]
    # rows of 256 elements; of 200, a multiple of 8 but not of 16; and all that Triton turns into constants: 1
    for shape, dtype in (((8, 784, 256), torch.bfloat16), ((8, 784, 200), torch.float16), ((1, 1, 1), torch.float32)):
        batch, rows, columns = shape
        x, row, column = torch.zeros(shape, dtype=dtype), torch.zeros(batch, rows), torch.zeros(batch, columns)
        places, strength = torch.zeros(batch, columns, dtype=torch.int32), torch.tensor(0.5)
        kernels.pool(x, 2, column, True, True)
        kernels.pool(x, 1, None, True, True)
        kernels.pool_weight_gradient(x, 1, column, column, places)
        kernels.apply(x, row, column, "sum", strength, x, True)
        kernels.apply_gradients(x, x, row, column, "max", strength)
        pooled = Pooled(column, column, places, row)
        kernels.map_gradient(x, x, row, column, "gates", None, Pooled(row, None, None, None), pooled, x)
    wanted = {"_pool", "_combine", "_pool_weight_gradient", "_apply", "_apply_gradients", "_map_gradient"}
    assert wanted == NAMES, NAMES


if __name__ == "__main__":
    main()
