"""Metrics to where people watch them: TensorBoard and Weights & Biases, when asked for."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError, closest
from whatwhere.train.recipe import Recipe
from whatwhere.train.task import Measured

__all__ = ["LOGGERS", "check_loggers", "logging"]

Log = Callable[[Measured], None]


def check_loggers(names: Sequence[str]) -> None:
    """Whether all are known and installed.

    Raises:
        RunError: one is not.
    """
    if isinstance(names, str):
        raise RunError(f"train(loggers={names!r}): loggers are a sequence of names", fix=f"loggers=({names!r},)")
    for name in names:
        if name not in LOGGERS:
            kinds = " or ".join(map(repr, LOGGERS))
            raise RunError(
                f"train(loggers=...): no such logger: {name!r}",
                closest=closest(name, LOGGERS),
                fix=f"{kinds}; metrics.csv is always written",
            )
        try:
            __import__(name)
        except ImportError as error:
            raise RunError(
                f"train(loggers=...): {name!r} is not installed", got=str(error), fix=f"pip install {name}"
            ) from error


@contextmanager
def logging(names: Sequence[str], folder: Path, recipe: Recipe, seed: int, done: int) -> Iterator[Log]:
    """A function that shows an epoch to all loggers, which are closed at the end.

    Args:
        names: of `LOGGERS`.
        folder: of the trial; TensorBoard's files go to ``tensorboard`` in it, W&B's to ``wandb``.
        recipe: told to W&B, likewise ``seed``.
        seed: likewise.
        done: epochs finished before; what was shown of later ones is withdrawn or overwritten.
    """
    with ExitStack() as stack:
        logs = [stack.enter_context(LOGGERS[name](folder, recipe, seed, done)) for name in dict.fromkeys(names)]

        def log(one: Measured) -> None:
            for each in logs:
                each(one)

        yield log


def _values(one: Measured) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if value is not None and name != "epoch"}


@contextmanager
def _tensorboard(folder: Path, recipe: Recipe, seed: int, done: int) -> Iterator[Log]:
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
    try:

        def log(one: Measured) -> None:
            for name, value in _values(one).items():
                writer.add_scalar(name, value, one.epoch)
            writer.flush()

        yield log
    finally:
        writer.close()


@contextmanager
def _wandb(folder: Path, recipe: Recipe, seed: int, done: int) -> Iterator[Log]:
    import wandb

    # a name of its own for the trial, so that a resumed one goes on in the same run
    identity = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
    config = {**asdict(recipe), "seed": seed}
    run = wandb.init(project="whatwhere", name=folder.name, id=identity, resume="allow", dir=str(folder), config=config)
    try:
        yield lambda one: run.log(_values(one), step=one.epoch)
    finally:
        run.finish()


LOGGERS: dict[str, Any] = {"tensorboard": _tensorboard, "wandb": _wandb}
