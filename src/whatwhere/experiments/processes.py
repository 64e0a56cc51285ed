"""Who this process is among all that share a folder, and whether one that is named in a file still lives."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

__all__ = ["describe_self", "lives"]

# Linux gives the namespace outside all containers this number.
_OUTERMOST = "pid:[4026531836]"


def describe_self() -> dict[str, object]:
    """The machine, its start, the container, and this process's number and start; None where it is not told."""
    return {
        "machine": socket.gethostname(),
        "boot": _boot(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def lives(found: Mapping[str, object]) -> bool | None:
    """Whether the process that described itself so lives; None when that cannot be told from here."""
    ours = describe_self()
    if found.get("machine") != ours["machine"] or os.name != "posix":  # elsewhere asking can end a process
        return None
    if any(found.get(place) not in (None, ours[place]) for place in ("boot", "namespace")):
        # another container, or another machine of this name; but outside all containers a name is one machine's, and
        # a boot that is over has ended all its processes
        return False if found.get("namespace") == ours["namespace"] == _OUTERMOST else None
    pid = found.get("pid")
    return isinstance(pid, int) and _runs(pid) and found.get("started") in (None, _started(pid))


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
