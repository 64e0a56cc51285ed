"""How planes (B, R, K) are cut into tiles, and how a program finds and reads its own.

A program of four warps reads ``TILE`` elements at a time, up to 256 of a row: that is 16 elements a thread in two to
four 16-byte loads, and what a warp reads of a row it can add up by itself. A handful of such programs on a
multiprocessor have enough bytes under way to keep the memory busy. What is reduced is cut further only where there are
too few programs to fill a GPU.

All this depends on the shape alone, not on the device or on a search: the bits are the same on every GPU, nothing is
tried out while a CUDA graph is captured, and nobody waits minutes for a first batch.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["Cut", "cut", "elements", "from_the_end", "in_units", "launch", "own", "read", "tile"]

TILE, WIDEST = 2048, 256
# Fewer programs than FEW (four for each of 132 multiprocessors) leave a GPU waiting; MANY even out when they end.
FEW, MANY = 512, 2048


class Cut(NamedTuple):
    """How planes are reduced over one dimension: each program keeps a block of the other and takes one piece.

    ``kept`` and ``along`` are the sides of a tile, ``length`` is what a piece has of the reduced dimension.
    """

    kept: int
    along: int
    length: int
    pieces: int
    programs: int


def tile(rows: int, columns: int) -> tuple[int, int]:
    """Sides of a tile of planes, powers of two."""
    wide = min(triton.next_power_of_2(columns), WIDEST)
    return min(triton.next_power_of_2(rows), TILE // wide), wide


def cut(shape: Sequence[int], dim: int) -> Cut:
    """How planes of this shape are reduced over ``dim`` (1 over rows, 2 over columns)."""
    batch, rows, columns = shape
    size, left = (rows, columns) if dim == 1 else (columns, rows)
    high, wide = tile(rows, columns)
    along, kept = (high, wide) if dim == 1 else (wide, high)
    programs = batch * triton.cdiv(left, kept)
    most = triton.cdiv(MANY, max(programs, 1)) if programs < FEW else 1
    # a piece of less than two tiles would cost more than it saves
    length = triton.cdiv(triton.cdiv(size, max(1, min(most, size // (2 * along)))), along) * along
    pieces = triton.cdiv(size, length)
    return Cut(kept, along, length, pieces, programs * pieces)


def in_units(columns: int) -> tuple[int, int]:
    """The length of a row as a number of units and the unit, a power of two up to 16.

    The compiler knows the unit, and by it at which addresses rows begin: so many elements it may join to one load.
    """
    unit = min(columns & -columns, 16)
    return columns // unit, unit


def launch(kernel: Any, programs: int, like: Tensor, *arguments: Any, **constants: Any) -> None:
    """Run a kernel on the GPU of ``like``, which need not be the current one."""
    with torch.cuda.device_of(like):
        kernel[(programs,)](*arguments, **constants, num_warps=4, enable_fp_fusion=True)


@triton.jit
def own(program, left, pieces, KEPT: tl.constexpr):
    """The batch and the piece that a program of a ``Cut`` reduces, and what it keeps (KEPT,)."""
    blocks = tl.cdiv(left, KEPT)
    piece = program // blocks % pieces
    batch = (program // blocks // pieces).to(tl.int64)
    return batch, piece, program % blocks * KEPT + tl.arange(0, KEPT)


@triton.jit
def from_the_end(R, K, HIGH: tl.constexpr, WIDE: tl.constexpr):
    """The batch, rows and columns of a program's one tile.

    The last tiles come first: a reduction that ran just before ended there, and the L2 cache may still hold them.
    """
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    blocks = tl.cdiv(K, WIDE)
    columns = program % blocks * WIDE + tl.arange(0, WIDE)
    batch, _, rows = own(program // blocks, R, 1, HIGH)
    return batch, rows, columns


@triton.jit
def elements(batch, kept, along, R, K, DIM: tl.constexpr):
    """Where the tile (kept, along) of planes (B, R, K) stands, ``along`` running along DIM, and what of it exists.

    In 64 bits, as planes may have more than 2^31 elements.
    """
    if DIM == 2:
        rows, columns = kept[:, None], along[None, :]
    else:
        rows, columns = along[None, :], kept[:, None]
    return (batch * R + rows) * K + columns, (rows < R) & (columns < K)


@triton.jit
def read(pointer, offsets, inside):
    """Elements in float32, zero outside."""
    return tl.load(pointer + offsets, mask=inside, other=0.0).to(tl.float32)
