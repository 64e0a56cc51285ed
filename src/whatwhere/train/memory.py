"""How much memory a trial takes, and what would fit where it did not."""

import gc
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from whatwhere.errors import RunError, first_line
from whatwhere.train.recipe import Recipe

__all__ = ["SMALLER", "largest_that_fits", "out_of_memory", "peak_bytes", "smaller_batch"]

SMALLER = "a smaller batch_size; finished epochs stay"


@contextmanager
def out_of_memory(words: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """Turns the device's "out of memory" inside the block into a `RunError`.

    Args:
        words: says in what, and what to do, which it may find out by trying: what failed holds no tensors any more.
    """
    said = ""
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = first_line(error) or "no memory"
        traceback.clear_frames(error.__traceback__)  # they hold the batch and all that came of it
    if said:
        where, fix = words()
        raise RunError(f"train: out of memory {where}", got=said, fix=fix)


def largest_that_fits(rehearse: Callable[[int], None], failed: int) -> int | None:
    """A half, a quarter, ... of ``failed`` images: the most that ``rehearse`` takes; None where two are too many."""
    size = failed // 2
    while size >= 2:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            rehearse(size)
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)
        else:
            return size
        size //= 2
    return None


def smaller_batch(recipe: Recipe, world: int, rehearse: Callable[[int], None]) -> str:
    """What to change in the recipe so that a step of it fits, found by trying."""
    pieces = world * recipe.accumulate
    fits = largest_that_fits(rehearse, recipe.batch_size // pieces)
    if fits is None:
        return "a smaller network or smaller images; finished epochs stay"
    most = recipe.batch_size // (2 * world)  # parts of one image would stop a batch norm over (B, C)
    parts = [n for n in range(1, most + 1) if recipe.batch_size % (world * n) == 0]
    enough = [n for n in parts if recipe.batch_size // (world * n) <= fits]
    ways = [f"accumulate={enough[0]} for the same step in smaller parts"] if enough else []
    return " or ".join([*ways, f"batch_size={fits * pieces}"]) + "; finished epochs stay"


def peak_bytes(device: torch.device) -> int | None:
    """The most memory in use: by a CUDA device's tensors since the last call, else by the process so far; or None."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
