import errno
import io
import os

import pytest
import torch

from whatwhere.data import load, loading, names
from whatwhere.data.split import brightness
from whatwhere.errors import DataError


def test_names():
    assert names() == ("cifar10", "cifar100", "fashion-mnist", "folder", "imagenet", "scenes", "stream")


@pytest.fixture(scope="module")
def whole():
    return load("scenes")


def _rows(*sets):
    return [row.numpy().tobytes() for part in sets for row in part.images.flatten(1)]


def test_scenes_by_default_share_no_image_among_the_parts(whole):
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [7200, 800, 2000]
    assert len(set(_rows(whole.train, whole.validation, whole.test))) == 10_000
    assert whole.train.labels.bincount().tolist() == [720] * 10
    assert whole.test.masks is not None


def test_the_seed_moves_validation_but_never_the_test(whole):
    other = load("scenes", seed=1, limit=100)
    assert torch.equal(other.test.images, whole.test.images)
    assert not torch.equal(other.validation.images, whole.validation.images)
    assert set(_rows(other.train, other.validation)) <= set(_rows(whole.train, whole.validation))
    assert not set(_rows(other.train)) & set(_rows(other.validation))


def test_limit_keeps_some_training_images_and_scales_nothing_else(whole):
    few = load("scenes", limit=100)
    assert few.train.labels.bincount().tolist() == [10] * 10
    assert set(_rows(few.train)) <= set(_rows(whole.train))
    assert torch.equal(few.validation.images, whole.validation.images)
    assert (few.mean, few.std) == brightness(few.train.images)


def test_loading_twice_gives_the_same(writer):
    writer.cifar100()
    one, two = (load("cifar100", root=writer.root, validation=0.3, seed=4) for _ in range(2))
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(one, part).images, getattr(two, part).images)
        assert torch.equal(getattr(one, part).labels, getattr(two, part).labels)
    assert one.name == "cifar100"
    assert [len(part) for part in (one.train, one.validation, one.test)] == [14, 6, 3]


def test_the_environment_names_the_root(writer, monkeypatch):
    writer.fashion_mnist()
    monkeypatch.setenv("WHATWHERE_DATA", str(writer.root))
    assert len(load("fashion-mnist").test) == 5


def test_home_is_the_root_otherwise(writer, monkeypatch, tmp_path):
    monkeypatch.delenv("WHATWHERE_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    writer.root = tmp_path / "home" / ".cache" / "whatwhere"
    writer.cifar10()
    assert len(load("cifar10").test) == 4


def test_scenes_of_another_size(monkeypatch):
    monkeypatch.setattr(loading, "_SCENES_POOL", (100, 0))
    monkeypatch.setattr(loading, "SCENES_TEST", (50, 1))
    assert load("scenes", image_size=48).train.images.shape == (90, 3, 48, 48)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cifar-100", "  closest: 'cifar100', 'cifar10'\n"),
        ("FashionMNIST", "  closest: 'fashion-mnist'\n"),
        ("scenes:32", "  closest: 'scenes'\n"),
        ("folder:", "  closest: 'folder'\n"),
        ("stream:", "  closest: 'stream'\n"),
        ("imagenet:x", "  closest: 'imagenet'\n"),
        ("zzz", ""),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest(name, near):
    with pytest.raises(DataError) as caught:
        load(name)
    assert str(caught.value) == (
        f"load('{name}'): no data set has this name\n{near}"
        "  fix: one of cifar10, cifar100, fashion-mnist, folder, imagenet, scenes, stream, folder:PATH or stream:PATH"
    )


def test_published_sets_keep_their_size():
    with pytest.raises(DataError) as caught:
        load("cifar10", image_size=64)
    assert str(caught.value) == (
        "load('cifar10', image_size=64): the images of this set have the size they were published in\n"
        "  got: 32 x 32\n"
        "  fix: leave image_size out"
    )


def test_image_size_is_positive():
    with pytest.raises(DataError) as caught:
        load("folder", image_size=0)
    assert str(caught.value) == "load('folder', image_size=0): image_size is a number of pixels, 1 or more"


@pytest.mark.parametrize(
    ("name", "file"),
    [("cifar10", "cifar-10-batches-py/data_batch_3"), ("fashion-mnist", "fashion-mnist/t10k-labels-idx1-ubyte.gz")],
)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=["closed", "broken disk"])
def test_a_file_that_the_system_does_not_give_is_named(writer, monkeypatch, name, file, number):
    writer.cifar10()
    writer.fashion_mnist()
    opened, path = io.open, writer.root / file

    def refuse(which, *args, **kwargs):
        if str(which) == str(path):
            raise OSError(number, os.strerror(number), str(path))
        return opened(which, *args, **kwargs)

    monkeypatch.setattr(io, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError) as caught:
        load(name, root=writer.root)
    assert str(caught.value) == (
        f"load({name!r}): '{path}' cannot be read\n"
        f"  got: {os.strerror(number)}\n"
        "  fix: see that you may read it, or name another folder by root= or WHATWHERE_DATA"
    )


def test_a_root_that_may_not_be_looked_into_is_named(tmp_path, monkeypatch):
    def closed(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_dir", closed)
    with pytest.raises(DataError) as caught:
        load("cifar100", root=tmp_path)
    assert str(caught.value).splitlines()[:2] == [
        f"load('cifar100'): '{tmp_path / 'cifar-100-python'}' cannot be read",
        "  got: Permission denied",
    ]
