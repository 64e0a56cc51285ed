"""One of several processes that run two small trials together, for each word after FOLDER: what goes wrong."""

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch

from whatwhere.data import ImageSet, Splits
from whatwhere.errors import RunError, Stopped
from whatwhere.experiments import Comparison, run_trials, runner, team, watcher
from whatwhere.train import Recipe
from whatwhere.train.launch import is_first, launch

COMPARISON = Comparison(
    "resnet8", ("none", "se"), "dots", seeds=1, recipe=Recipe(epochs=2, batch_size=16), stem="small"
)


def splits() -> Splits:
    """Noise of 8x8 pixels, which two epochs need not learn."""

    def images(count: int) -> ImageSet:
        generator = torch.Generator().manual_seed(count)
        return ImageSet(
            torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator), torch.arange(count) % 2
        )

    return Splits("dots", ("a", "b"), images(64), images(16), images(20), (0.5,) * 3, (0.2,) * 3)


TRAIN = runner.train


def spoil(how: str) -> None:
    """Puts something before training, in process 1 alone or in all."""
    rank = int(os.environ["RANK"])

    def spoilt(model, data, recipe, **more):
        if how == "all" or (how == "one" and rank == 1):
            raise RunError(f"train: no, says {how}", got="a", fix="b")
        if how in ("killed", "stopped") and rank == 1:
            number = signal.SIGKILL if how == "killed" else signal.SIGTERM
            model.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), number))
        return TRAIN(model, data, recipe, **more)

    runner.train = spoilt


def run(folder: str, how: str) -> int:
    """Run the trials once; what the command line would say and answer."""
    spoil(how)
    try:
        run_trials(COMPARISON.trials(), Path(folder), splits(), watcher())
    except RunError as error:
        if is_first():
            print(error, file=sys.stderr, flush=True)
        return 75 if isinstance(error, Stopped) else 2
    return 0


def main(folder: str, *all_hows: str) -> int:
    """The exit status of the last run."""
    status = launch(2, None)
    if status is not None:
        return status
    team._PATIENCE = timedelta(seconds=5)
    return [run(folder, how) for how in all_hows][-1]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
