"""One trial, one process: a claim is a file that only one of many can create."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["claim", "holder"]

# A claim without readable content is either being written this instant or was left by a crash.
_WRITING_SECONDS = 60.0


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold ``path`` while the block runs; it is removed at the end, Ctrl-C and errors included.

    Yields True when the claim is ours, and False when somebody else has it (``holder`` says who). A claim whose process
    is dead on this machine is taken over; one from another machine is believed.
    """
    ours = _create(path) or _take_over(path)
    try:
        yield ours
    finally:
        if ours and _read(path) == _self():  # a claim that somebody removed by hand may be another's by now
            path.unlink(missing_ok=True)


def holder(path: Path) -> str:
    """Who holds the claim, in words."""
    found = _read(path)
    return f"process {found.get('pid')} on {found.get('machine')}" if found else "an unknown process"


def _create(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump(_self(), file)
    return True


def _take_over(path: Path) -> bool:
    """Replace a dead process's claim, under a lock on its folder, so that of two that see it dead only one gets it."""
    if os.name != "posix" or _alive(path):  # elsewhere asking whether a process lives can end it
        return False
    import fcntl

    lock = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _alive(path):
            return False
        path.unlink(missing_ok=True)
        return _create(path)
    finally:
        os.close(lock)


def _alive(path: Path) -> bool:
    found = _read(path)
    if found is None:
        try:
            return time.time() - path.stat().st_mtime < _WRITING_SECONDS
        except FileNotFoundError:
            return False
    if found.get("machine") != socket.gethostname():
        return True
    pid = found.get("pid")
    return isinstance(pid, int) and _runs(pid) and found.get("started") in (None, _started(pid))


def _read(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _self() -> dict[str, object]:
    return {"machine": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str | None:
    """The process's start time where the system tells (Linux), so that a reused number is not taken for the old one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]
