"""The Triton kernels: interpreted on the CPU, compiled and run where there is CUDA, compiled for an H100 everywhere."""

import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
BENCHMARK = HERE.parents[1] / "benchmarks" / "gpu_kernels.py"
# what NumPy from 2.4 on says of the bounds that Triton 3.6 interprets a loop with
OLD_INTERPRETER = "TypeError('only 0-dimensional arrays can be converted to Python scalars')"

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def run(script: str, *arguments: str, **environment: str) -> None:
    """Run a program beside this file; what it says is the message of the failure."""
    command = [sys.executable, str(HERE / script), *arguments]
    clean = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, capture_output=True, text=True, env={**clean, **environment}, timeout=900)
    if OLD_INTERPRETER in done.stderr:
        pytest.skip("the interpreter of this Triton has no loops with this NumPy")
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize(
    "checks",
    ["pools extremes weight_gradients", "applied gate_gradients map_gradients", "launches corners"],
)
def test_interpreted(checks: str) -> None:
    run("triton_checks.py", *checks.split(), TRITON_INTERPRET="1")


def test_broken_kernels_are_found_out() -> None:
    run("triton_mutants.py", TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize(
    "check",
    ["pools", "extremes", "weight_gradients", "applied", "gate_gradients", "map_gradients", "launches", "corners"],
)
def test_on_cuda(check: str) -> None:
    run("triton_checks.py", check)


def test_compiled_for_hopper(tmp_path: Path) -> None:
    """16-byte loads, nothing spilled, no atomics; needs no GPU."""
    run("triton_compiling.py", TRITON_CACHE_DIR=str(tmp_path))


def test_registered_for_cuda() -> None:
    """Importing the kernels is enough, with or without a device."""
    import_module("whatwhere.ops.triton")
    names = import_module("whatwhere.ops.operators").__all__
    assert len(names) == 5
    for name in names:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"whatwhere::{name}", "CUDA"), name


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = spec_from_file_location("gpu_kernels", BENCHMARK)
    script = module_from_spec(spec)
    sys.modules["gpu_kernels"] = script
    spec.loader.exec_module(script)
    yield script
    del sys.modules["gpu_kernels"]


def test_the_benchmark_runs(tmp_path: Path) -> None:
    """Without a GPU: every kernel held against its definition, every way of a gate against plain torch, a row each."""
    run(str(BENCHMARK), "--dry-run", "--out", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["dry_run"]
    assert len({row["kernel"] for row in found["kernels"]}) == len(found["kernels"]) == 12
    assert [row["of_copy"] for row in found["kernels"] if row["kernel"] == "copy"] == [1.0]
    assert all(row["graph_us"] > 0 and row["gigabytes_per_second"] > 0 for row in found["kernels"])
    gates = {(row["gate"], row["way"], row["pass"], row["launched"]) for row in found["gates"]}
    assert len(gates) == len(found["gates"]) == 2 * 2 * 2 * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device to measure")
def test_the_benchmark_refuses_to_measure_nothing(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        benchmark.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "gpu_kernels.py: there is nothing to measure: torch sees no CUDA device\n"
        "  fix: run it where there is one, or with --dry-run --out FILE to see that it works\n"
    )


def test_the_benchmark_times_nothing_that_is_wrong(benchmark: Any) -> None:
    benchmark.agree((torch.tensor([1.0, 2.0]), None), (torch.tensor([1.0, 2.01]), None), "pool", 1e-2)
    message = "apply, a map: not what plain torch computes, off by 1 where 0.02 is allowed"
    with pytest.raises(SystemExit, match=message):
        benchmark.agree(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0]), "apply, a map", 1e-2)
    for wrong in (torch.tensor([3, 5]), torch.tensor([float("nan"), 4.0])):
        with pytest.raises(SystemExit, match="not what plain torch computes"):
            benchmark.agree(wrong, torch.tensor([3, 4]), "pool", 1e-2)
