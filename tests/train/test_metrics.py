"""Lines of metrics.jsonl, there and back, and whole files or none."""

import errno
import json
import os
from dataclasses import replace

import pytest
from train.toy import read_epochs

from whatwhere.errors import RunError
from whatwhere.train import Epoch
from whatwhere.train.files import make_folder, settle, write_atomically
from whatwhere.train.metrics import append_epoch, best_of, write_epochs

EPOCH = Epoch(1, 0.1, 0.7, 0.5, 0.6, 0.55, 2.0, 100.0)
AGAIN = "then make the same call again; it goes on from the last finished epoch"


def test_there_and_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    second = replace(EPOCH, epoch=2, lr=1 / 3, waiting=0.25, peak_bytes=5)
    write_epochs(tmp_path, [EPOCH], Epoch)
    append_epoch(tmp_path, second)
    assert read_epochs(path) == [EPOCH, second]
    with open(path, "a") as file:
        file.write('{"epoch": 3, "l')
    write_epochs(tmp_path, [EPOCH], Epoch)
    assert read_epochs(path) == [EPOCH]


def test_a_table_for_spreadsheets(tmp_path):
    write_epochs(tmp_path, [EPOCH], Epoch)
    append_epoch(tmp_path, replace(EPOCH, epoch=2, lr=1 / 3, waiting=0.25, peak_bytes=5))
    assert (tmp_path / "metrics.csv").read_text() == (
        "epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,images_per_second,"
        "waiting,peak_bytes\n"
        "1,0.1,0.7,0.5,0.6,0.55,2.0,100.0,,\n"
        "2,0.3333333333333333,0.7,0.5,0.6,0.55,2.0,100.0,0.25,5\n"
    )


def test_lines_of_earlier_versions_can_be_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    names = ("epoch", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds")
    path.write_text(json.dumps(dict.fromkeys((*names, "images_per_second"), 1)) + "\n")
    (one,) = read_epochs(path)
    assert (one.waiting, one.peak_bytes) == (None, None)


def test_the_first_of_the_best():
    history = [replace(EPOCH, epoch=i, validation_accuracy=a) for i, a in enumerate((0.5, 0.8, 0.7, 0.8), start=1)]
    assert best_of(history).epoch == 2


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "make the folder writable, or choose another"),
        (errno.EIO, "put right what the system says"),
    ],
    ids=["full", "quota", "read-only", "broken"],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, number, fix, call):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "file"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(RunError) as caught:
            write_atomically(path, b"new")
    assert str(caught.value) == f"train: cannot write '{path}': {os.strerror(number)}\n  fix: {fix}, {AGAIN}"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_settle_does_not_touch_what_is_right(tmp_path, monkeypatch):
    path = tmp_path / "file"
    settle(path, b"a")
    monkeypatch.setattr(os, "replace", None)
    settle(path, b"a")
    assert path.read_bytes() == b"a"


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "trial"
    with pytest.raises(RunError) as caught:
        make_folder(folder)
    assert str(caught.value) == (
        f"train: cannot write '{folder}': Not a directory\n"
        f"  fix: move away what stands in the place of a file or folder, or choose another, {AGAIN}"
    )
