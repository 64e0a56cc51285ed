"""Files are there whole or not at all."""

import errno
import os

import pytest

from whatwhere.errors import RunError
from whatwhere.experiments.atomic import check_writable, write_json, write_text


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EPERM, "make the folder writable, or choose another"),
        (errno.EIO, "put right what the system says"),
    ],
    ids=["full", "forbidden", "broken"],
)
def test_a_disk_that_refuses_is_named(tmp_path, monkeypatch, number, fix):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "table.md"
    with pytest.raises(RunError) as caught:
        write_text(path, "x")
    assert str(caught.value) == (
        f"compare: cannot write '{path}': {os.strerror(number)}\n"
        f"  fix: {fix}, then make the same call again; finished trials are kept"
    )
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        check_writable(tmp_path / "file" / "out", "compare(out='file/out')")
    assert str(caught.value) == (
        "compare(out='file/out'): the folder cannot be written\n"
        "  got: Not a directory\n"
        "  fix: name a folder of your own with --out (out=)"
    )


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    check_writable(tmp_path / "a" / "b", "compare(out='a/b')")
    assert os.listdir(tmp_path / "a" / "b") == []
