"""A file is replaced whole or not at all, by however many at once."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from whatwhere.files import replace_file, way_out


@pytest.mark.parametrize("data", [b"new", memoryview(b"new")], ids=["bytes", "view"])
def test_the_file_is_replaced_and_nothing_else_is_there(tmp_path: Path, data: bytes | memoryview) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"an older, longer one")
    replace_file(path, data)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_fails_is_a_plain_error_and_leaves_the_old_file(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    replace_file(path, b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        replace_file(path, b"new")
    assert type(caught.value) is OSError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_writers_one_wins_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([i]) * 100_000 for i in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: replace_file(path, content), contents))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "make the folder writable, or choose another"),
        (errno.EACCES, "make the folder writable, or choose another"),
        (errno.EPERM, "make the folder writable, or choose another"),
        (errno.EEXIST, "move away what stands in the place of a file or folder, or choose another"),
        (errno.EISDIR, "move away what stands in the place of a file or folder, or choose another"),
        (errno.ENOTDIR, "move away what stands in the place of a file or folder, or choose another"),
        (errno.EIO, ""),
        (None, ""),
    ],
)
def test_the_way_out(number: int | None, words: str) -> None:
    assert way_out(OSError("no number") if number is None else OSError(number, "words")) == words
