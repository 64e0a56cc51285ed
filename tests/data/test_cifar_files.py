import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from whatwhere.data import load
from whatwhere.data.cifar import cifar10, cifar100
from whatwhere.errors import DataError


def test_cifar10_joins_its_batches_in_order(writer):
    writer.cifar10()
    classes, pool, test = cifar10(writer.root)
    assert classes == tuple(f"class{i}" for i in range(10))
    assert pool.labels.tolist() == list(range(10)) * 5
    assert test.labels.tolist() == [9, 8, 7, 6]
    assert pool.images.shape == (50, 3, 32, 32)
    third = writer.pixels(10, seed=2)
    assert np.array_equal(pool.images[20].numpy(), third[0].reshape(3, 32, 32))


def test_cifar100_takes_the_fine_labels_and_needs_no_filenames(writer):
    writer.cifar100()
    classes, pool, test = cifar100(writer.root)
    assert classes[99] == "fine99"
    assert pool.labels.tolist() == list(range(10)) * 2
    assert test.labels.tolist() == [99, 0, 5]
    assert np.array_equal(pool.images.numpy().reshape(20, -1), writer.pixels(20))


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_reads_arrays_pickled_by_either_numpy(writer, module):
    train = writer.cifar100() / "train"
    train.write_bytes(train.read_bytes().replace(b"cnumpy.core.multiarray\n", b"c" + module + b"\n"))
    assert len(cifar100(writer.root)[1]) == 20


def test_reads_arrays_laid_out_by_columns(writer):
    writer.cifar100(data=np.asfortranarray(writer.pixels(20)))
    assert np.array_equal(cifar100(writer.root)[1].images.numpy().reshape(20, -1), writer.pixels(20))


class Shell:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_asks_for_a_shell_is_refused_and_not_run(writer, protocol):
    trace = writer.root / "trace"
    folder = writer.cifar100()
    evil = pickle.dumps({"fine_labels": Shell(trace)}, protocol=protocol)
    (folder / "train").write_bytes(evil)
    with pytest.raises(DataError) as caught:
        load("cifar100", root=writer.root)
    assert str(caught.value) == (
        f"load('cifar100'): the file 'train' asks for {os.system.__module__}.system; nothing was run\n"
        f"  got: {folder / 'train'}\n"
        f"  fix: delete the folder {folder} and load again, which downloads it"
    )
    assert not trace.exists()
    pickle.loads(evil)  # the same bytes do run when nobody restricts them
    assert trace.exists()


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (OrderedDict(), "collections.OrderedDict"),
        (np.float32(1), "numpy.core.multiarray.scalar"),
        (np.zeros((2, 3072), np.float32), "an array of b'f4'"),
        (np.array([None]), "an array of b'O8'"),
        ({1}, "__builtin__.set"),
    ],
    ids=["ordered-dict", "numpy-scalar", "float-array", "object-array", "set"],
)
def test_nothing_but_byte_arrays_is_built(writer, value, asked):
    writer.cifar100(data=value)
    with pytest.raises(DataError) as caught:
        cifar100(writer.root)
    assert str(caught.value).splitlines()[0] == f"load('cifar100'): the file 'train' asks for {asked}; nothing was run"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999], ids=lambda share: f"{share:.1%}")
def test_a_pickle_broken_off_anywhere_is_named(writer, share):
    train = writer.cifar100() / "train"
    whole = train.read_bytes()
    train.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError) as caught:
        cifar100(writer.root)
    lines = str(caught.value).splitlines()
    assert lines[0] == "load('cifar100'): the file 'train' is broken off or no pickle"
    assert lines[1].startswith(f"  got: {train}: ")
    assert lines[2] == f"  fix: delete the folder {train.parent} and load again, which downloads it"


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_a_flipped_byte_is_a_data_error_or_other_data_but_nothing_else(writer, place):
    train = writer.cifar100() / "train"
    whole = bytearray(train.read_bytes())
    whole[place if place < 200 else place - 400] ^= 0x15
    train.write_bytes(whole)
    try:
        _, pool, _ = cifar100(writer.root)
    except DataError:
        return
    assert pool.images.shape == (20, 3, 32, 32)


@pytest.mark.parametrize(
    ("change", "rule", "got"),
    [
        ({"data": np.zeros((20, 3071), np.uint8)}, "has no array of (images, 3072) under 'data'", ": (20, 3071)"),
        ({"data": np.zeros((0, 3072), np.uint8)}, "has no array of (images, 3072) under 'data'", ": (0, 3072)"),
        ({"data": None}, "has no array of (images, 3072) under 'data'", ": NoneType"),
        ({"fine_labels": [100] * 20}, "holds labels outside 0 to 99", ": 100 to 100"),
        ({"fine_labels": [-1] * 20}, "holds labels outside 0 to 99", ": -1 to -1"),
        ({"fine_labels": [2**70] * 20}, "holds labels outside 0 to 99", f": {2**70} to {2**70}"),
        ({"fine_labels": [0] * 19}, "holds not one label for each image", ": 19 labels, 20 images"),
        ({"fine_labels": ["0"] * 20}, "has no list of integers under 'fine_labels'", ""),
        ({"fine_labels": None}, "has no list of integers under 'fine_labels'", ""),
    ],
    ids=["columns", "empty", "no-data", "label-high", "label-low", "label-huge", "lengths", "label-text", "no-labels"],
)
def test_tampered_content_is_named(writer, change, rule, got):
    train = writer.cifar100(**change) / "train"
    with pytest.raises(DataError) as caught:
        load("cifar100", root=writer.root)
    assert str(caught.value) == (
        f"load('cifar100'): the file 'train' {rule}\n"
        f"  got: {train}{got}\n"
        f"  fix: delete the folder {train.parent} and load again, which downloads it"
    )


def test_a_pickle_of_something_else_is_named(writer):
    folder = writer.cifar10()
    writer.pickled("cifar-10-batches-py", "data_batch_3", [1, 2])
    with pytest.raises(DataError) as caught:
        cifar10(writer.root)
    assert str(caught.value).splitlines()[:2] == [
        "load('cifar10'): the file 'data_batch_3' holds no dict",
        f"  got: {folder / 'data_batch_3'}: list",
    ]


def test_a_missing_list_of_names_is_named(writer):
    writer.cifar10()
    writer.pickled("cifar-10-batches-py", "batches.meta", {"num_vis": 3072})
    with pytest.raises(DataError) as caught:
        cifar10(writer.root)
    rule = "load('cifar10'): the file 'batches.meta' has no list of names under 'label_names'"
    assert str(caught.value).splitlines()[0] == rule


def test_a_missing_file_in_a_folder_that_is_there_is_named_and_not_downloaded(writer):
    folder = writer.cifar10()
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError) as caught:
        load("cifar10", root=writer.root)
    assert str(caught.value) == (
        "load('cifar10'): the file 'data_batch_4' is missing\n"
        f"  got: {folder / 'data_batch_4'}\n"
        f"  fix: delete the folder {folder} and load again, which downloads it"
    )


def test_images_can_be_written_to(writer):
    writer.cifar100()
    _, pool, _ = cifar100(writer.root)
    pool.images.zero_()
    assert torch.count_nonzero(pool.images) == 0
