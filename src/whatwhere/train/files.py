"""Writing a file so that a reader sees the old one or the new one, never a part."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whatwhere.errors import RunError

__all__ = ["make_folder", "settle", "write_atomically", "written"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turns an `OSError` inside the block into a `RunError` with ``path``, the system's reason and the way on."""
    try:
        yield
    except OSError as error:
        fix = "put right what the system says"
        if error.errno in _FULL:
            fix = "free some space"
        elif error.errno in _FORBIDDEN:
            fix = "make the folder writable, or choose another"
        raise RunError(
            f"train: cannot write '{path}': {error.strerror or error}",
            fix=f"{fix}, then make the same call again; it goes on from the last finished epoch",
        ) from error


def make_folder(folder: Path) -> None:
    """Makes ``folder`` and its parents where missing.

    Raises:
        RunError: the system refuses.
    """
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Replaces ``path`` by a file with ``data`` that is on the disk; on failure the old file stays and no other.

    Raises:
        RunError: the system refuses; the first line has the path and the reason.
    """
    # one fixed name: what a killed process left there is overwritten by the next, so that litter cannot pile up
    temporary = path.with_name(path.name + ".tmp")
    with written(path):
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def settle(path: Path, data: bytes) -> None:
    """Has ``path`` hold ``data``; a file that does is not touched, so that a read-only folder will do.

    Raises:
        RunError: the system refuses.
    """
    with written(path):
        settled = path.is_file() and path.read_bytes() == data
    if not settled:
        write_atomically(path, data)
