"""Every set of kernels that runs on this machine's CPU, held to the contract."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from support.kernel_contract import CHECKS, LONG, any_number_of_threads, beyond_int32

from whatwhere.ops import plain
from whatwhere.ops.kernels import Kernels


@cache
def compiled_kernels() -> tuple[Kernels | None, str | None]:
    """The C++ kernels, or why there are none."""
    if find_spec("whatwhere.ops.cpu") is None:
        return None, "there are no C++ kernels in this tree"
    cpu = import_module("whatwhere.ops.cpu")
    problem = cpu.problem()
    if problem is None:
        cpu.load()
        return import_module("whatwhere.ops.operators"), None
    return None, problem


@pytest.fixture
def compiled() -> Kernels:
    kernels, problem = compiled_kernels()
    if kernels is None:
        pytest.skip(f"the C++ kernels cannot run here: {problem}")
    return kernels


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("check", [*CHECKS, *LONG], ids=lambda check: check.__name__)
def test_plain(check, dtype: torch.dtype) -> None:
    check(plain, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("check", [*CHECKS, *LONG, any_number_of_threads], ids=lambda check: check.__name__)
def test_cpu(check, dtype: torch.dtype, compiled: Kernels) -> None:
    check(compiled, dtype)


@pytest.mark.slow
def test_more_elements_than_an_int_counts(compiled: Kernels) -> None:
    beyond_int32(compiled, torch.bfloat16)
