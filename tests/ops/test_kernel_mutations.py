"""The contract can fail: each way a kernel may be wrong is tried, and the check that guards against it must go red."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import kernel_contract as contract
from torch import Tensor
from torch.nn import functional as F

import whatwhere
from whatwhere.ops import plain
from whatwhere.ops.cpu import target
from whatwhere.ops.planes import Pooled

FLOAT, HALF = torch.float32, torch.bfloat16
NAMES = ("pool", "pool_weight_gradient", "apply", "apply_gradients", "map_gradient")


def broken(**kernels: Any) -> Any:
    """Plain kernels, some of them replaced."""
    return SimpleNamespace(**({name: getattr(plain, name) for name in NAMES} | kernels))


def _pool(change: Any) -> Any:
    """``pool`` with what it found changed: ``change(x, dim, mean, largest, index)``."""

    def pool(x: Tensor, dim: int, weight: Tensor | None, largest: bool, index: bool) -> Any:
        mean, most, place = plain.pool(x, dim, weight, largest, index)
        gated = x.to(mean.dtype) if weight is None else x * weight.unsqueeze(3 - dim)
        mean, most, place = change(gated, dim, mean, most, place)
        return mean, most if largest else None, place if index else None

    return broken(pool=pool)


def _last(gated: Tensor, dim: int) -> Tensor:
    return (gated.shape[dim] - 1 - gated.flip(dim).max(dim).indices).int()


def _stalled(gated: Tensor, dim: int) -> Tensor:
    """What one running float32 sum makes of ones."""
    total = gated.double().sum(dim)
    return (total.clamp(-(2.0**24), 2.0**24) / gated.shape[dim]).to(gated.dtype)


POOLS = {
    "index-off-by-one": ("pool_values", FLOAT, lambda x, d, mean, top, at: (mean, top, at if at is None else at + 1)),
    "the-last-of-equals": ("pool_ties", FLOAT, lambda x, d, mean, top, at: (mean, top, _last(x, d))),
    "tail-dropped": (
        "pool_values",
        FLOAT,
        lambda x, d, mean, top, at: (x.narrow(d, 0, max(x.shape[d] // 8 * 8, 1)).sum(d) / x.shape[d], top, at),
    ),
    "tail-not-compared": (
        "pool_values",
        FLOAT,
        lambda x, d, mean, top, at: (mean, x.narrow(d, 0, max(x.shape[d] // 8 * 8, 1)).amax(d), at),
    ),
    "last-line-dropped": (
        "pool_values",
        FLOAT,
        lambda x, d, mean, top, at: (F.pad(mean[:, : mean.shape[1] - 1], (0, 1)), top, at),
    ),
    "mean-without-one": ("pool_values", FLOAT, lambda x, d, mean, top, at: (x.sum(d) / (x.shape[d] - 1), top, at)),
    "starts-at-zero": (
        "pool_values",
        FLOAT,
        lambda x, d, mean, top, at: (mean, None if top is None else top.clamp(min=0), at),
    ),
    "nan-ignored": (
        "pool_specials",
        FLOAT,
        lambda x, d, mean, top, at: (mean, x.nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(d), at),
    ),
    "the-last-nan": (
        "pool_specials",
        FLOAT,
        lambda x, d, mean, top, at: (
            mean,
            top,
            torch.where(x.isnan().any(d), _last(x, d), at if at is not None else 0),
        ),
    ),
    "sum-in-half": ("long_sums", HALF, lambda x, d, mean, top, at: (x.half().cumsum(d).select(d, -1) / 10**6, top, at)),
    "one-running-sum": ("longer_sums", FLOAT, lambda x, d, mean, top, at: (_stalled(x, d), top, at)),
    "result-in-half": ("pool_values", HALF, lambda x, d, mean, top, at: (mean.bfloat16().float(), top, at)),
    "no-two-alike": ("same_bits_twice", FLOAT, lambda x, d, mean, top, at: (mean + 1e-6 * torch.randn(()), top, at)),
    "threads-show": (
        "any_number_of_threads",
        FLOAT,
        lambda x, d, mean, top, at: (mean * (1 + 1e-6 * torch.get_num_threads()), top, at),
    ),
    "input-changed": ("inputs_unchanged", FLOAT, lambda x, d, mean, top, at: (x.add_(1).mean(d), top, at)),
}


@pytest.mark.parametrize(("check", "dtype", "change"), POOLS.values(), ids=POOLS)
def test_broken_pools_are_caught(check: str, dtype: torch.dtype, change: Any) -> None:
    with pytest.raises(AssertionError):
        getattr(contract, check)(_pool(change), dtype)


def _reads_on(x: Tensor, dim: int, *args: Any) -> Any:
    """One element too many is read, and multiplied by zero."""
    mean, *rest = plain.pool(x, dim, *args)
    end = x.storage_offset() + x.numel()
    beyond = x.as_strided((1,), (1,), end) if end < x.untyped_storage().nbytes() // x.itemsize else x.new_zeros(1)
    return mean + 0 * beyond, *rest


def _weight_forgotten(x: Tensor, dim: int, weight: Tensor | None, *args: Any) -> Any:
    return plain.pool(x, dim, None, *args)


def _rounded_products(x: Tensor, dim: int, weight: Tensor | None, *args: Any) -> Any:
    return plain.pool(x if weight is None else (x * weight.unsqueeze(3 - dim)).to(x.dtype), dim, None, *args)


def _apply(x: Tensor, row: Any, column: Any, how: str, strength: Any, residual: Any, relu: bool, spoil: str) -> Tensor:
    """``apply`` with one thing wrong."""
    factor = plain._factor(row, column, how, None if spoil == "strength" else strength)
    if spoil == "one" and how != "gates" and strength is None:
        factor = factor - 1
    if spoil == "overflow" and how == "sum" and row is not None and column is not None and strength is None:
        factor = 1 + 1 / (1 + (-row).exp().unsqueeze(2) * (-column).exp().unsqueeze(1))
    if spoil == "factor in half":
        factor = factor.to(x.dtype)
    out = x + x * (factor - 1) + 0.0 if spoil == "minus zero" else x * factor
    out = out.clamp(min=0) if spoil == "relu first" and relu else out
    if residual is not None and spoil != "residual":
        out = out + residual
    if relu and spoil not in ("relu", "relu first"):
        out = torch.where(out > 0, out, 0) if spoil == "nan" else out.relu()
    out = out.to(x.dtype)
    if spoil == "tail":
        kept, whole = torch.empty_like(out), out.shape[2] // 8 * 8
        kept[:, :, :whole] = out[:, :, :whole]
        return kept
    return x.copy_(out) if spoil == "in place" else out


APPLIED = {
    "strength": ("apply_values", FLOAT),
    "one": ("apply_values", FLOAT),
    "residual": ("apply_values", FLOAT),
    "relu": ("apply_values", FLOAT),
    "relu first": ("apply_values", FLOAT),
    "factor in half": ("apply_values", HALF),
    "overflow": ("huge_logits", FLOAT),
    "nan": ("gate_specials", FLOAT),
    "minus zero": ("strength_zero", FLOAT),
    "tail": ("nothing_left_unwritten", FLOAT),
    "in place": ("inputs_unchanged", FLOAT),
}


@pytest.mark.parametrize(("spoil", "check", "dtype"), [(k, *v) for k, v in APPLIED.items()], ids=APPLIED)
def test_broken_applies_are_caught(spoil: str, check: str, dtype: torch.dtype) -> None:
    with pytest.raises(AssertionError):
        getattr(contract, check)(broken(apply=lambda *args: _apply(*args, spoil=spoil)), dtype)


def _first_takes_all(gradient: Tensor, x: Tensor, row: Any, column: Any, how: str, strength: Any) -> Any:
    if how == "max" and row is not None and column is not None:
        row = row + 1e-6 * row.abs()
    return plain.apply_gradients(gradient, x, row, column, how, strength)


def _without_last_row(gradient: Tensor, x: Tensor, *gate: Any) -> Any:
    drow, _, moved = plain.apply_gradients(gradient, x, *gate)
    short = gradient.clone()
    short[:, -1] = 0
    return drow, plain.apply_gradients(short, x, *gate)[1], moved


def _one_hot(pooled: Pooled | None) -> Pooled | None:
    """Infinity times zero: what a product does where a choice was meant."""
    if pooled is None or pooled.largest is None:
        return pooled
    return pooled._replace(mean=pooled.mean + 0 * pooled.largest)


def _gradient(change: Any) -> Any:
    """``map_gradient`` with its last three arguments changed."""

    def map_gradient(x: Tensor, *args: Any) -> Tensor:
        return plain.map_gradient(x, *args[:5], *change(x, *args[5:]))

    return broken(map_gradient=map_gradient)


def _moved_on(pooled: Pooled | None, length: int) -> Pooled | None:
    if pooled is None or pooled.places is None:
        return pooled
    return pooled._replace(places=(pooled.places + 1).clamp(max=length - 1))


def _unweighted(pooled: Pooled | None) -> Pooled | None:
    return pooled and pooled._replace(weight=None)


def test_unbroken_they_pass() -> None:
    """The wrappers by themselves break nothing."""
    for check in (contract.pool_values, contract.pool_specials):
        check(_pool(lambda x, dim, *found: found), FLOAT)
    for check in (contract.map_gradient_values, contract.map_gradient_specials):
        check(_gradient(lambda x, *given: given), FLOAT)
    contract.apply_values(broken(apply=lambda *args: _apply(*args, spoil="")), FLOAT)


OTHERS = {
    "reads-on": ("nothing_read_outside", FLOAT, broken(pool=_reads_on)),
    "weight-forgotten": ("pool_values", FLOAT, broken(pool=_weight_forgotten)),
    "products-rounded": ("pool_values", HALF, broken(pool=_rounded_products)),
    "largest-forgotten": (
        "weight_gradient_values",
        FLOAT,
        broken(pool_weight_gradient=lambda x, dim, mean, *_: plain.pool_weight_gradient(x, dim, mean, None, None)),
    ),
    "largest-elsewhere": (
        "weight_gradient_values",
        FLOAT,
        broken(
            pool_weight_gradient=lambda x, dim, mean, top, at: plain.pool_weight_gradient(
                x, dim, mean, top, at if at is None else (at + 1).clamp(max=x.shape[dim] - 1)
            )
        ),
    ),
    "first-takes-all": ("equal_logits", FLOAT, broken(apply_gradients=_first_takes_all)),
    "last-row-dropped": ("apply_gradients_values", FLOAT, broken(apply_gradients=_without_last_row)),
    "slopes-without-strength": (
        "apply_gradients_values",
        FLOAT,
        broken(
            apply_gradients=lambda g, x, r, c, how, s: (
                *plain.apply_gradients(g, x, r, c, how, None)[:2],
                plain.apply_gradients(g, x, r, c, how, s)[2],
            )
        ),
    ),
    "products-in-half": (
        "apply_gradients_values",
        HALF,
        broken(apply_gradients=lambda g, x, *gate: plain.apply_gradients((g * x).float(), torch.ones_like(x), *gate)),
    ),
    "extra-dropped": ("map_gradient_values", FLOAT, _gradient(lambda x, across, down, extra: (across, down, None))),
    "across-dropped": ("map_gradient_values", FLOAT, _gradient(lambda x, across, down, extra: (None, down, extra))),
    "weights-dropped": (
        "map_gradient_values",
        FLOAT,
        _gradient(lambda x, across, down, extra: (_unweighted(across), _unweighted(down), extra)),
    ),
    "places-off-by-one": (
        "map_gradient_values",
        FLOAT,
        _gradient(lambda x, across, down, extra: (across, _moved_on(down, x.shape[1]), extra)),
    ),
    "chosen-by-a-product": (
        "map_gradient_specials",
        FLOAT,
        _gradient(lambda x, across, down, extra: (_one_hot(across), _one_hot(down), extra)),
    ),
    "map-is-read": (
        "map_gradient_specials",
        FLOAT,
        _gradient(lambda x, across, down, extra: (across, down, 0 * x if extra is None else extra + 0 * x)),
    ),
}


@pytest.mark.parametrize(("check", "dtype", "kernels"), OTHERS.values(), ids=OTHERS)
def test_broken_kernels_are_caught(check: str, dtype: torch.dtype, kernels: Any) -> None:
    with pytest.raises(AssertionError):
        getattr(contract, check)(kernels, dtype)


# A change to the C++, the check it must turn red, and one that it leaves green: the rest of the build is sound.
COMPILED = {
    "tail-dropped": ("planes.h", r"if \(k < columns\) step\(k, columns - k\);", "", "apply_values", "empty_batch"),
    "index-off-by-one": (
        "pool_across.cpp",
        r"static_cast<int32_t>\(top\.place\)",
        "static_cast<int32_t>(top.place + 1)",
        "pool_values",
        "apply_values",
    ),
}
RUN = """
import sys, torch
from support import kernel_contract as contract
from whatwhere.ops import cpu, operators
from whatwhere.ops.cpu.build import build
build()
cpu.load()
for name in sys.argv[1:]:
    try:
        getattr(contract, name)(operators, torch.float32)
        print("green", name)
    except AssertionError:
        print("red", name)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("file", "pattern", "instead", "red", "green"), COMPILED.values(), ids=COMPILED)
def test_broken_cpp_is_caught(file: str, pattern: str, instead: str, red: str, green: str, tmp_path: Path) -> None:
    """A copy of the package with one place changed, compiled into a cache of its own."""
    if target.unsupported() or shutil.which("c++") is None:
        pytest.skip("there is no C++ to compile here")
    package = Path(whatwhere.__file__).parent
    shutil.copytree(package, tmp_path / "whatwhere", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "whatwhere" / "ops" / "cpu" / file
    text, changed = re.subn(pattern, instead, source.read_text())
    assert changed == 1, f"{file} has no such place any more: {pattern}"
    source.write_text(text)
    tests = Path(__file__).parents[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(tests)]),
        "WHATWHERE_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, red, green], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["red", red, "green", green]
