import gzip
import struct

import numpy as np
import pytest

from whatwhere.data import load
from whatwhere.data.fashion_mnist import CLASSES, fashion_mnist
from whatwhere.errors import DataError


@pytest.mark.parametrize("suffix", [".gz", ""], ids=["packed", "plain"])
@pytest.mark.parametrize("folder", ["fashion-mnist", "FashionMNIST/raw"])
def test_reads_the_published_files(writer, suffix, folder):
    writer.fashion_mnist(suffix, folder)
    classes, pool, test = fashion_mnist(writer.root)
    assert classes == CLASSES
    assert pool.images.shape == (20, 1, 28, 28)
    assert test.labels.tolist() == [0, 1, 2, 3, 4]
    expected = np.random.default_rng(5).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    assert np.array_equal(test.images[:, 0].numpy(), expected)


def _first_lines(writer):
    with pytest.raises(DataError) as caught:
        load("fashion-mnist", root=writer.root)
    lines = str(caught.value).splitlines()
    assert lines[-1] == f"  fix: delete the folder {writer.root / 'fashion-mnist'} and load again, which downloads it"
    return lines[:-1]


@pytest.mark.parametrize("kept", [0, 5, 400], ids=["empty", "header", "half"])
def test_a_gz_file_broken_off_is_named(writer, kept):
    path = writer.fashion_mnist() / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:kept])
    lines = _first_lines(writer)
    assert lines[0] == "load('fashion-mnist'): the file 'train-images-idx3-ubyte.gz' cannot be read"
    assert lines[1].startswith(f"  got: {path}: ")


def test_a_damaged_gz_file_is_named(writer):
    path = writer.fashion_mnist() / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[500:600] = bytes(100)
    path.write_bytes(content)
    assert _first_lines(writer)[0].startswith("load('fashion-mnist'): the file 'train-images-idx3-ubyte.gz' ")


def test_no_gz_file_at_all_is_named(writer):
    path = writer.fashion_mnist() / "train-labels-idx1-ubyte.gz"
    path.write_bytes(b"<html>not found</html>")
    assert _first_lines(writer) == [
        "load('fashion-mnist'): the file 'train-labels-idx1-ubyte.gz' cannot be read",
        f"  got: {path}: BadGzipFile: Not a gzipped file (b'<h')",
    ]


@pytest.mark.parametrize(
    ("body", "found"), [(bytes(19), "19"), (bytes(30), "more than 20"), (b"", "0")], ids=["short", "long", "none"]
)
def test_a_file_of_another_length_than_it_says_is_named(writer, body, found):
    path = writer.fashion_mnist() / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">2I", 0x801, 20) + body))
    assert _first_lines(writer) == [
        "load('fashion-mnist'): the file 'train-labels-idx1-ubyte.gz' is not as long as it says",
        f"  got: {path}: {found} bytes for (20,)",
    ]


def test_a_length_beyond_all_memory_is_named(writer):
    path = writer.fashion_mnist() / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">4I", 0x803, *[2**32 - 1] * 3)))
    assert _first_lines(writer)[0].startswith("load('fashion-mnist'): the file 'train-images-idx3-ubyte.gz' ")


def test_labels_in_the_place_of_images_are_named(writer):
    folder = writer.fashion_mnist()
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes((folder / "train-labels-idx1-ubyte.gz").read_bytes())
    assert _first_lines(writer) == [
        "load('fashion-mnist'): the file 'train-images-idx3-ubyte.gz' is no IDX file of 3 axes",
        f"  got: {path}: it begins with 0x00000801",
    ]


@pytest.mark.parametrize(
    ("array", "file", "rule", "got"),
    [
        (np.zeros((20, 28, 27), np.uint8), "images-idx3", "holds no images of 28 x 28", "(20, 28, 27)"),
        (np.zeros((0, 28, 28), np.uint8), "images-idx3", "holds no images of 28 x 28", "(0, 28, 28)"),
        (np.zeros(7, np.uint8), "labels-idx1", "holds not one label for each image", "7 labels, 20 images"),
        (np.full(20, 10, np.uint8), "labels-idx1", "holds labels outside 0 to 9", "up to 10"),
    ],
    ids=["size", "empty", "lengths", "label"],
)
def test_tampered_content_is_named(writer, array, file, rule, got):
    writer.fashion_mnist()
    path = writer.idx(array, f"train-{file}-ubyte.gz")
    assert _first_lines(writer) == [
        f"load('fashion-mnist'): the file '{path.name}' {rule}",
        f"  got: {path}: {got}",
    ]


def test_a_missing_file_is_named(writer):
    path = writer.fashion_mnist() / "t10k-labels-idx1-ubyte.gz"
    path.unlink()
    assert _first_lines(writer) == [f"load('fashion-mnist'): the file '{path.name}' is missing", f"  got: {path}"]
