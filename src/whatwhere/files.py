"""Writing a file so that a reader sees the old one or the new one, never a part; and what to do when it fails."""

import errno
import os
import secrets
from pathlib import Path

__all__ = ["replace_file", "way_out"]

_FULL = "free some space"
_CLOSED = "make the folder writable, or choose another"
_TAKEN = "move away what stands in the place of a file or folder, or choose another"
_WAYS_OUT = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EEXIST: _TAKEN,
    errno.EISDIR: _TAKEN,
    errno.ENOTDIR: _TAKEN,
}


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Put ``data`` at ``path`` in one step and on the disk; on failure the old file stays and nothing is left behind.

    It is written to ``.NAME.RANDOM`` beside it first: several processes, of several machines or containers, may write
    one file. Only a process killed meanwhile leaves that behind.

    Raises:
        OSError: the system refuses.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def way_out(error: OSError) -> str:
    """What the user can do about a write that failed; "" where the system's own reason is all there is to say."""
    return _WAYS_OUT.get(error.errno or 0, "")
