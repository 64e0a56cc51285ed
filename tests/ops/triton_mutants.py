"""Broken copies of the Triton kernels, every one of which the checks have to find out; interpreted, on the CPU."""

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from triton_checks import INF, NAN, RAGGED, compare, fenced, normal, places

from whatwhere.ops import triton as kernels_of_ours
from whatwhere.ops.planes import Pooled

SOURCE = Path(kernels_of_ours.__file__).parent


def _quick(kernels: Any, name: str) -> None:
    """One ragged case of a kernel: what every mutant below has to fail."""
    x, row, column = normal(*RAGGED), normal(2, 17), normal(2, 300)
    index = places(2, 17, 300)
    if name == "pool":
        ties = fenced(torch.randint(0, 3, RAGGED).float())
        for dim, weight in ((1, row), (2, column)):
            compare(kernels, name, x, dim, weight, True, True)
            compare(kernels, name, ties, dim, None, True, True)
        compare(kernels, name, fenced(torch.where(ties == 1, NAN, ties)), 2, None, True, True)
        compare(kernels, name, normal(1, 2, 1100), 2, None, True, True)
    elif name == "pool_weight_gradient":
        compare(kernels, name, x, 2, row, row, index)
    elif name == "apply":
        compare(kernels, name, x, row, column, "max", None, x, True)
        compare(kernels, name, x, row, column, "gates", fenced(torch.tensor(0.5)), None, False)
    elif name == "apply_gradients":
        endless = fenced(torch.full((2, 17), INF))
        compare(kernels, name, x, x, endless, column.abs() + 1, "product", None)
        compare(kernels, name, x, x, row, column, "product", fenced(torch.tensor(0.5)))
        compare(kernels, name, x, x, fenced(torch.ones(2, 17)), fenced(torch.ones(2, 300)), "max", None)
    else:
        compare(kernels, name, x, x, row, column, "sum", None, Pooled(row, row, index, column), None, x)


# The kernel that must go red, the file, what stands in it and what stands there instead.
MUTANTS = (
    ("pool", "tiles.py", "rows) * K + columns", "rows) * K + columns + 1"),
    ("apply", "tiles.py", "(batch * R + rows) * K", "(batch + rows) * K"),
    ("pool", "tiles.py", "triton.cdiv(left, kept)", "(left // kept)"),
    ("pool", "pooling.py", "tl.minimum(start + length, size)", "tl.minimum(start + length, size - 1)"),
    ("apply", "gate.py", "triton.cdiv(columns, wide)", "(columns // wide)"),
    ("apply", "gate.py", "if RELU:", "if False:"),
    ("apply_gradients", "gradients.py", "tl.where(inside, product * by_row, 0.0)", "product * by_row"),
    ("apply_gradients", "gradients.py", "product *= tl.load(strength)", "product *= 1.0"),
    ("apply_gradients", "gradients.py", "(batch * blocks + block)", "(batch * blocks)"),
    ("map_gradient", "gradients.py", "place == along", "place + 1 == along"),
    ("map_gradient", "gradients.py", "triton.cdiv(rows, high)", "(rows // high)"),
    ("pool", "pooling.py", "(value <= top)", "(value < top)"),
    ("pool", "pooling.py", "| (top != top)", "& (top == top)"),
    ("pool", "pooling.py", "kept, along, pieces, left, 1)", "kept, along, pieces - 1, left, 1)"),
    ("pool", "pooling.py", "return tl.where(none, found, float(\"nan\"))", "return found"),
    ("pool_weight_gradient", "pooling.py", "place == kept[:, None]", "place == kept[:, None] + 1"),
    ("apply", "factor.py", "(r > c) | (r != r)", "(r < c) | (r != r)"),
    ("apply", "factor.py", "tl.load(strength) * less_one", "less_one"),
    ("apply_gradients", "factor.py", "tl.where(r == c, 0.5, 0.0)", "0.0"),
    ("apply_gradients", "factor.py", "slope * c, slope * r", "slope * r, slope * c"),
)  # fmt: skip


def main() -> None:
    for name in {name for name, *_ in MUTANTS}:
        _quick(kernels_of_ours, name)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for number, (name, file, old, new) in enumerate(MUTANTS):
            package = f"mutant{number}"
            (Path(folder) / package).mkdir()
            for path in SOURCE.glob("*.py"):
                text = path.read_text().replace("whatwhere.ops.triton", package).replace("\nregister()\n", "\n")
                if path.name == file:
                    assert old in text, (file, old)
                    text = text.replace(old, new)
                (Path(folder) / package / path.name).write_text(text)
            try:
                _quick(import_module(package), name)
            except AssertionError:
                continue
            raise AssertionError(f"nothing noticed that {file} has {new!r} for {old!r}")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    main()
