"""The files of one trial: written whole or not at all, and what is said when they cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whatwhere.errors import RunError
from whatwhere.files import replace_file, way_out

__all__ = ["make_folder", "settle", "sweep", "write_atomically", "written"]


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turns an `OSError` inside the block into a `RunError` with ``path``, the system's reason and the way on."""
    try:
        yield
    except OSError as error:
        fix = way_out(error) or "put right what the system says"
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
    with written(path):
        replace_file(path, data)


def settle(path: Path, data: bytes) -> None:
    """Has ``path`` hold ``data``; a file that does is not touched, so that a read-only folder will do.

    Raises:
        RunError: the system refuses.
    """
    with written(path):
        settled = path.is_file() and path.read_bytes() == data
    if not settled:
        write_atomically(path, data)


def sweep(path: Path) -> None:
    """Removes what processes that were killed while writing ``path`` left beside it; none may be writing it now.

    Raises:
        RunError: the system refuses.
    """
    with written(path):
        for left in path.parent.glob(f".{path.name}.*"):
            left.unlink(missing_ok=True)
