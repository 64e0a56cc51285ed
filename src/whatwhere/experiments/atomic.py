"""JSON files that are there whole or not at all."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError

__all__ = ["check_writable", "replace_file", "write_json", "write_text"]


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; a reader sees the old file or the new one, never a part.

    Raises:
        ValueError: a number is NaN or infinite, which JSON has no word for.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` by way of a temporary name beside it."""
    replace_file(path, text.encode())


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one step; when that fails, nothing is left behind and the old file stays.

    The temporary name has the process's number in it, since several may write one summary.

    Raises:
        RunError: the system refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        fix = "put that right and make the same call again; finished trials are kept"
        raise RunError(f"compare: cannot write '{path}': {error.strerror or error}", fix=fix) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path, call: str) -> None:
    """Make ``folder`` and write to it once, so that an hour of training does not end at a closed door.

    Raises:
        RunError: the folder cannot be made, is a file, or takes no files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(
            f"{call}: the folder cannot be written",
            got=error.strerror or str(error),
            fix="name a folder of your own with --out (out=)",
        ) from error
