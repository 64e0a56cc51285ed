"""The folder of built kernels. A library there ends with the digest of the rest: half a file is never loaded."""

import hashlib
import os
from pathlib import Path

from whatwhere.errors import KernelError
from whatwhere.files import replace_file
from whatwhere.ops.cpu import target

__all__ = ["fault", "folder", "others", "place", "write"]

_SEAL = hashlib.sha256().digest_size


def folder() -> Path:
    """``kernels`` in $WHATWHERE_CACHE, else in ``whatwhere`` in $XDG_CACHE_HOME or ~/.cache.

    Raises:
        KernelError: none is set and there is no home folder.
    """
    chosen = os.environ.get("WHATWHERE_CACHE")
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "whatwhere"
    try:
        return base.expanduser().absolute() / "kernels"
    except RuntimeError as error:
        fix = "set WHATWHERE_CACHE to a folder that can be written"
        raise KernelError("whatwhere.ops.cpu: there is no folder for built kernels", got=str(error), fix=fix) from error


def place() -> Path:
    """Where the library for this torch and this CPU lies, if it is built."""
    return folder() / target.name()


def fault(path: Path) -> str | None:
    """Why the library cannot be loaded (absent, unreadable, not what was written), or None."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"{path}: {(error.strerror or '').lower()}"
    if _digest(data[:-_SEAL]) != data[-_SEAL:]:
        return f"{path} is cut off or damaged"
    return None


def write(library: bytes) -> Path:
    """Put a library into the cache in one step.

    Raises:
        OSError: the system refuses; nothing is left behind.
    """
    path = place()
    replace_file(path, library + _digest(library))
    return path


def others() -> int:
    """How many builds in the cache are for another torch, another CPU or other sources."""
    return sum(path.name != target.name() for path in folder().glob("cpu-*.so"))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
