"""Accelerate, started for one trial and put away after it, and the meeting of the processes that share the trial."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from whatwhere.errors import RunError, first_line
from whatwhere.train.launch import cpu_wanted, processes
from whatwhere.train.recipe import Recipe

__all__ = ["engine", "meet"]


@contextmanager
def engine(recipe: Recipe) -> Iterator[Any]:
    """An ``accelerate.Accelerator`` with the recipe's precision, on the device that Accelerate chooses.

    Accelerate keeps device, precision and gradient accumulation in classes that all its users share, and refuses a
    second precision in one process. Here each trial gets fresh ones; what was there before, a caller's own Accelerator
    for one, is put back at the end.

    Where the environment says that there are several processes (``WORLD_SIZE``, ``RANK`` and the like, as torchrun sets
    them), they meet here, the first time only: torch cannot be relied on to have them meet twice.

    Raises:
        RunError: Accelerate is not installed or refuses the precision, the processes do not find each other, or
            ``"fp16"`` or graphs are asked for on a CPU.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState, PartialState
        from accelerate.utils import GradientAccumulationPlugin
    except ImportError as error:
        raise RunError(
            "train: training needs the accelerate package", got=str(error), fix="pip install 'whatwhere[lab]'"
        ) from error
    shared = (AcceleratorState, PartialState, GradientState)
    before = [dict(state._shared_state) for state in shared]
    for state in shared:
        state._reset_state()
    try:
        # given outright, so that an environment variable of `accelerate launch` cannot divide the loss
        whole_steps = GradientAccumulationPlugin(num_steps=1)
        name = "no" if recipe.precision == "fp32" else recipe.precision
        cpu = meet()
        try:
            accelerator = Accelerator(mixed_precision=name, gradient_accumulation_plugin=whole_steps, cpu=cpu)
        except ValueError as error:
            raise RunError(
                f"train(Recipe(precision='{recipe.precision}')): Accelerate cannot do this here",
                got=str(error),
                fix="precision='fp32'",
            ) from error
        _check_machine(accelerator, recipe)
        with _determinism(recipe.deterministic):
            yield accelerator
    finally:
        for state, values in zip(shared, before, strict=True):
            state._shared_state.clear()
            state._shared_state.update(values)


def meet() -> bool:
    """Has several processes find each other; whether they compute on the CPU, which Accelerate has to be told.

    Raises:
        RunError: they do not.
    """
    if processes() == 1:
        return False
    cpu = cpu_wanted() or not torch.cuda.is_available()
    if not dist.is_initialized():
        if not cpu:
            # one that sees a single GPU, as SLURM may have it, has it as number 0
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        try:
            dist.init_process_group("gloo" if cpu else "cuda:nccl,cpu:gloo")
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"train: the {os.environ['WORLD_SIZE']} processes of this trial did not find each other",
                got=first_line(error),
                fix="start WORLD_SIZE of them, each with its own RANK, all with one MASTER_ADDR and MASTER_PORT",
            ) from error
    return cpu


def _check_machine(accelerator: Any, recipe: Recipe) -> None:
    if accelerator.device.type == "cpu":
        if recipe.precision == "fp16":  # Accelerate would quietly train in float32
            raise RunError("train(Recipe(precision='fp16')): fp16 needs a GPU", got="a cpu", fix="'bf16' or 'fp32'")
        if recipe.graphs:  # the compiler would quietly do without
            raise RunError("train(Recipe(graphs=True)): CUDA graphs need a GPU", got="a cpu", fix="graphs=False")


_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """Only operations that give the same bits each time, if ``wanted``; what was set before is set again."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(_WORKSPACE)
    os.environ.setdefault(_WORKSPACE, ":4096:8")  # cuBLAS' own condition for it
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        raise RunError(
            "train(Recipe(deterministic=True)): the network uses an operation that cannot be",
            got=str(error).partition(" does not")[0],
            fix="deterministic=False, or another layer",
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            del os.environ[_WORKSPACE]
