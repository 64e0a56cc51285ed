"""The `whatwhere` command: picks the verb, and turns errors into messages and exit statuses."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import tyro

from whatwhere.cli.cells import Cells
from whatwhere.cli.compare import Compare
from whatwhere.cli.detect import Detect
from whatwhere.cli.explain import Explain
from whatwhere.cli.kernels import Kernels
from whatwhere.cli.pack import Pack
from whatwhere.cli.plan import Plan
from whatwhere.cli.report import Report
from whatwhere.cli.reproduce import Reproduce
from whatwhere.cli.shards import Shards
from whatwhere.errors import Stopped, WhatwhereError
from whatwhere.files import way_out

__all__ = ["main"]

_STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class _Asked(BaseException):
    """SIGTERM or SIGUSR1; like Ctrl-C, for nobody on the way to take for a failure of what is being done."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 when it did what it was asked to; 1 where `kernels` finds none to use that there could be; 2 for a mistake the
    user can mend, with the message on standard error and no traceback; 75 when a signal stopped a training that the
    same command will continue, so that a scheduler can requeue it; 130 after Ctrl-C. A failure of the program itself
    keeps its traceback.
    """
    command = tyro.cli(
        Compare | Reproduce | Detect | Cells | Report | Explain | Plan | Pack | Shards | Kernels,
        prog="whatwhere",
        description="Attention gates for convolutional networks: what to look at, and where.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    trains = isinstance(command, Compare | Reproduce) or (isinstance(command, Detect) and command.trains)
    try:
        with _stoppable(trains):
            return int(command.run())
    except _Asked as asked:
        rule = f"{type(command).__name__.lower()}: stopped by {asked}"
        _tell(str(Stopped(rule, fix="run the same command again to go on")))
        return 75
    except WhatwhereError as error:
        _tell(str(error))
        return 75 if isinstance(error, Stopped) else 2
    except OSError as error:
        fix = way_out(error)
        if error.errno is None or not fix:
            raise
        rule = f"{type(command).__name__.lower()}: {os.strerror(error.errno).lower()}"
        fix = f"{fix}, then run the same command again; what is finished is kept"
        _tell(str(WhatwhereError(rule, got=str(error.filename or ""), fix=fix)))
        return 2
    except KeyboardInterrupt:
        _tell(f"stopped{'; run the same command again to go on' if trains else ''}")
        return 130


@contextmanager
def _stoppable(trains: bool) -> Iterator[None]:
    """Ends the block with `_Asked` on SIGTERM and SIGUSR1, where no training inside it listens to them itself.

    One of several processes that train together is left to end by the signal: it may be waiting for the others, where
    no Python code is run, and its launcher knows what the signal means.
    """
    together = "RANK" in os.environ or os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    if not trains or together or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        raise _Asked(signal.Signals(number).name)

    before = {each: signal.signal(each, ask) for each in _STOPPING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _tell(message: str) -> None:
    """On standard error; of several processes that train together, the first speaks for all."""
    rank, size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    spoken_for = rank.isdecimal() and size.isdecimal() and 0 < int(rank) < int(size)
    if not spoken_for:
        print(message, file=sys.stderr)
