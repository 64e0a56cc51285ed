"""Accelerate, started for one trial and put away after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from whatwhere.errors import RunError

__all__ = ["engine"]


@contextmanager
def engine(precision: str) -> Iterator[Any]:
    """An ``accelerate.Accelerator`` with the recipe's precision, on the device that Accelerate chooses.

    Accelerate keeps device, precision and gradient accumulation in classes that all its users share, and refuses a
    second precision in one process. Here each trial gets fresh ones; what was there before, a caller's own Accelerator
    for one, is put back at the end.

    Raises:
        RunError: Accelerate is not installed or refuses the precision, ``"fp16"`` is asked for on a CPU, or several
            processes were launched.
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
        name = "no" if precision == "fp32" else precision
        try:
            accelerator = Accelerator(mixed_precision=name, gradient_accumulation_plugin=whole_steps)
        except ValueError as error:
            raise RunError(
                f"train(Recipe(precision='{precision}')): Accelerate cannot do this here",
                got=str(error),
                fix="precision='fp32'",
            ) from error
        _check_machine(accelerator, precision)
        yield accelerator
    finally:
        for state, values in zip(shared, before, strict=True):
            state._shared_state.clear()
            state._shared_state.update(values)


def _check_machine(accelerator: Any, precision: str) -> None:
    if accelerator.num_processes > 1:
        raise RunError(
            "train: one trial is trained by one process",
            got=f"{accelerator.num_processes} processes",
            fix="start each process on its own, without torchrun or accelerate launch, one trial each",
        )
    if precision == "fp16" and accelerator.device.type == "cpu":  # Accelerate would quietly train in float32
        raise RunError("train(Recipe(precision='fp16')): fp16 needs a GPU", got="a cpu", fix="'bf16' or 'fp32'")
