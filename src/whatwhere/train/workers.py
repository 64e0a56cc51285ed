"""The processes of one run on this machine: started together, ended together, and one exit status for all.

PyTorch's own elastic launcher is not used: it turns every exit status of a worker into 1, so that neither a user's
mistake nor a stop with a checkpoint could be told from a crash, and it kills what has not ended half a minute after
SIGTERM, which can be in the middle of a checkpoint.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO

from whatwhere.errors import RunError

__all__ = ["STOPPED", "free_port", "stop_with_launcher", "supervise"]

STOPPED = 75  # EX_TEMPFAIL: a scheduler may start the same command again
_LAUNCHER = "WHATWHERE_LAUNCHER"
_LOOK_SECONDS = 0.05
# How long the others have to end by themselves after one of them failed, before SIGTERM, and again before SIGKILL.
_GRACE_SECONDS = 5.0
# The same where rank 0 may have a summary to write: another one reported an error, or all were told to stop.
_LONG_GRACE_SECONDS = 60.0
# What schedulers send ahead of time: a worker leaves a checkpoint and ends with STOPPED.
_STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
_FORWARDED = (*_STOPPING, *(getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)))


@dataclass(frozen=True)
class _Worker:
    rank: int
    process: "subprocess.Popen[bytes]"
    said: IO[bytes] | None  # what all but rank 0 print, for rank 0 speaks for all


def supervise(command: Sequence[str], count: int, environment: Mapping[str, str]) -> int:
    """Run ``command`` in ``count`` processes that find each other, and wait for all of them.

    Rank 0 keeps the terminal; what the others print is shown only when it is one of them that failed. SIGTERM, SIGUSR1,
    SIGINT and SIGHUP are passed on each time they come, and a stopped worker is given all the time that its checkpoint
    takes. When one fails, the others are ended too: within some ten seconds when it was killed or was rank 0.

    Args:
        command: what each process runs.
        count: how many.
        environment: of all of them; each gets its rank and the meeting point besides.

    Returns:
        0 when all ended with 0; 75 when they stopped on SIGTERM or SIGUSR1; else the status of the first that failed,
        130 after Ctrl-C.

    Raises:
        RunError: one was killed by a signal that did not come through here.
    """
    workers: list[_Worker] = []
    sent: set[int] = set()
    try:
        with _forwarding(workers, sent):
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), _LAUNCHER: str(os.getpid())}
            for rank in range(count):
                workers.append(_start(command, rank, count, {**environment, **meeting}))
                for number in sent:  # it came before there was this one to pass it on to
                    workers[-1].process.send_signal(number)
            culprit = _wait(workers, sent)
        return _status(culprit, workers, sent)
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            if worker.said is not None:
                worker.said.close()


def free_port() -> int:
    """A TCP port of this machine that nobody listens at right now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def stop_with_launcher() -> None:
    """Have the system send this process SIGTERM when the process that ``supervise``s it dies; on Linux only.

    Otherwise a launcher that is killed would leave its workers training, unseen.
    """
    launcher = os.environ.get(_LAUNCHER)
    if launcher is None or sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != int(launcher):  # it died before the line above
        os.kill(os.getpid(), signal.SIGTERM)


def _start(command: Sequence[str], rank: int, count: int, environment: Mapping[str, str]) -> _Worker:
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    said = tempfile.TemporaryFile() if rank else None  # noqa: SIM115
    process = subprocess.Popen(
        command,
        env={**environment, **{name: str(value) for name, value in places.items()}},
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        # a group of their own, so that Ctrl-C on the terminal reaches them once: through here
        process_group=0 if os.name == "posix" else None,
    )
    return _Worker(rank, process, said)


@contextmanager
def _forwarding(workers: Sequence[_Worker], sent: set[int]) -> Iterator[None]:
    def forward(number: int, frame: FrameType | None) -> None:
        sent.add(number)
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[_Worker], sent: set[int]) -> _Worker | None:
    """Until all have ended; the first that failed, or None."""
    culprit: _Worker | None = None
    deadline = float("inf")
    blows = iter((signal.SIGTERM, signal.SIGKILL))
    while running := [worker for worker in workers if worker.process.poll() is None]:
        if culprit is None:
            culprit = _failed(workers, sent)
            if culprit is not None:
                deadline = time.monotonic() + _grace(culprit, sent)
        if time.monotonic() > deadline:
            blow = next(blows, signal.SIGKILL)
            for worker in running:
                worker.process.send_signal(blow)
            deadline = time.monotonic() + _GRACE_SECONDS
        time.sleep(_LOOK_SECONDS)
    return culprit or _failed(workers, sent)


def _failed(workers: Sequence[_Worker], sent: set[int]) -> _Worker | None:
    """The first in rank that ended badly; one killed outright comes before one that only noticed it."""
    bad = [worker for worker in workers if _outcome(worker, sent) not in (None, 0, STOPPED)]
    return min(bad, key=lambda worker: (worker.process.returncode > 0, worker.rank), default=None)


def _outcome(worker: _Worker, sent: set[int]) -> int | None:
    """The exit status; a signal that was passed on counts as what the worker would have made of it, had it been up."""
    status = worker.process.poll()
    if status is None or -status not in sent:
        return status
    return STOPPED if -status in _STOPPING else 128 - status


def _grace(culprit: _Worker, sent: set[int]) -> float:
    long = culprit.rank > 0 and (culprit.process.returncode > 0 or bool(sent))
    return _LONG_GRACE_SECONDS if long else _GRACE_SECONDS


def _status(culprit: _Worker | None, workers: Sequence[_Worker], sent: set[int]) -> int:
    if culprit is None:
        return max((_outcome(worker, sent) or 0 for worker in workers), default=0)
    status = _outcome(culprit, sent) or 0
    if culprit.said is not None:
        culprit.said.seek(0)
        words = culprit.said.read().decode(errors="replace").strip()
        if words:
            print(f"rank {culprit.rank} of {len(workers)} said:\n{words}", file=sys.stderr, flush=True)
    if status < 0:
        raise _killed(culprit.rank, len(workers), -status)
    return status


def _killed(rank: int, count: int, number: int) -> RunError:
    fix = "the same command again goes on from the last checkpoint"
    if number == getattr(signal, "SIGKILL", None):
        fix = f"where the system did so for want of memory, a smaller --batch-size or fewer --devices; {fix}"
    names = {int(one): one.name for one in signal.Signals}
    return RunError(
        f"--devices {count}: rank {rank} of {count} was killed by {names.get(number, f'signal {number}')}",
        got="the other processes were ended too",
        fix=fix,
    )
