"""The files of a comparison: written whole or not at all, and what is said when they cannot be."""

import json
import tempfile
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.files import replace_file, way_out

__all__ = ["check_writable", "write_bytes", "write_json", "write_text"]


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; a reader sees the old file or the new one, never a part.

    Raises:
        RunError: the system refuses; ValueError: a number is NaN or infinite, which JSON has no word for.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` in one step.

    Raises:
        RunError: the system refuses.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one step; when that fails, nothing is left behind and the old file stays.

    Raises:
        RunError: the system refuses.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise RunError(
            f"compare: cannot write '{path}': {error.strerror or error}",
            fix=f"{way_out(error) or 'put right what the system says'}, then make the same call again; finished trials "
            "are kept",
        ) from error


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
