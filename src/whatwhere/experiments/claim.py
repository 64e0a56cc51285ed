"""One trial, one process: a claim is a file that only one of many can create."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["claim", "holder"]

# A claim without readable content is either being written this instant or was left by a crash.
_WRITING_SECONDS = 60.0
# Linux gives the namespace outside all containers this number.
_OUTERMOST = "pid:[4026531836]"


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold ``path`` while the block runs; it is removed at the end, Ctrl-C and errors included.

    Yields True when the claim is ours, and False when somebody else has it (``holder`` says who). A claim whose process
    is dead on this machine is taken over; one from another machine or another container is believed.

    Raises:
        OSError: the claim cannot be written.
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
    with os.fdopen(handle, "wb") as file:
        _write(path, file)
    return True


def _write(path: Path, file: BinaryIO) -> None:
    """Make the claim ours; half a claim would keep everybody out for a while, so it is removed."""
    try:
        file.write(json.dumps(_self()).encode())
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _take_over(path: Path) -> bool:
    """Make a dead process's claim ours, under a lock on the claim itself, so that of two that see it dead one gets it.

    The lock needs a file opened for writing: network file systems lock nothing else.
    """
    if os.name != "posix" or _alive(path):  # elsewhere asking whether a process lives can end it
        return False
    import fcntl

    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # given up meanwhile
        return _create(path)
    except PermissionError:  # somebody else's, on a folder that is shared
        return False
    with os.fdopen(handle, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            return False
        if not _same(file.fileno(), path):
            return _create(path)
        if _alive(path):
            return False
        _write(path, file)
        return True


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _alive(path: Path) -> bool:
    found = _read(path)
    if found is None:
        try:
            return time.time() - path.stat().st_mtime < _WRITING_SECONDS
        except FileNotFoundError:
            return False
    ours = _self()
    if found.get("machine") != ours["machine"]:
        return True
    if any(found.get(place) not in (None, ours[place]) for place in ("boot", "namespace")):
        # another container, or another machine of this name; but outside all containers a name is one machine's, and
        # a boot that is over has ended all its processes
        return not (found.get("namespace") == ours["namespace"] == _OUTERMOST)
    pid = found.get("pid")
    return isinstance(pid, int) and _runs(pid) and found.get("started") in (None, _started(pid))


def _read(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _self() -> dict[str, object]:
    return {
        "machine": socket.gethostname(),
        "boot": _boot(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _boot() -> str | None:
    """What Linux calls this start of the machine; None where it is not told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _namespace() -> str | None:
    """Whose process numbers ours is one of: every Linux container has its own; None where it is not told."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


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
