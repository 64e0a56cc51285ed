import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_files import KINDS_OF_PIXELS

from whatwhere.data import folder as folder_module
from whatwhere.data import load, memory
from whatwhere.data.decode import decode
from whatwhere.errors import DataError


def _tree(root: Path, *parts: str, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10) -> Path:
    """Each class is one grey level, each image its own red."""
    for p, part in enumerate(parts):
        for c, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                colour = (10 * i + p, 100 * c, 50)
                Image.new("RGB", (12, 9), colour).save(root / part / name / f"{i:02}.png")
    return root


def _reds(images):
    return images.images[:, 0, 0, 0].tolist()


@pytest.fixture
def tree(tmp_path):
    return _tree(tmp_path / "tree", "train", "val")


def test_without_a_test_folder_val_is_tested_with_and_validation_is_split_from_train(tree):
    splits = load(f"folder:{tree}", validation=0.2, image_size=8)
    assert splits.name == f"folder:{tree.resolve()}"
    assert splits.classes == ("cat", "dog")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [16, 4, 20]
    assert splits.validation.labels.tolist() == [0, 0, 1, 1]
    seen = sorted(_reds(splits.train) + _reds(splits.validation))
    assert seen == sorted(10 * i for i in range(10) for _ in range(2))
    assert _reds(splits.test) == [10 * i + 1 for i in range(10)] * 2
    assert splits.test.images[15].flatten(1).unique(dim=1).tolist() == [[51], [100], [50]]


def test_with_val_and_test_folders_each_is_what_its_name_says(tmp_path):
    splits = load("folder", root=_tree(tmp_path, "train", "val", "test", count=3), image_size=8, limit=2)
    assert _reds(splits.validation) == [1, 11, 21] * 2
    assert _reds(splits.test) == [2, 12, 22] * 2
    assert splits.train.labels.tolist() == [0, 1]


def test_with_a_test_folder_only_validation_is_split_from_train(tmp_path):
    splits = load("folder", root=_tree(tmp_path, "train", "test"), image_size=8)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 2, 20]


def test_images_left_out_by_the_limit_are_not_even_opened(tree):
    whole = load(f"folder:{tree}", image_size=8)
    few = load(f"folder:{tree}", image_size=8, limit=2)
    kept = set(zip(_reds(few.train), few.train.labels.tolist(), strict=True))
    assert kept < set(zip(_reds(whole.train), whole.train.labels.tolist(), strict=True))
    held = set(zip(_reds(few.validation), few.validation.labels.tolist(), strict=True))
    for c, name in enumerate(("cat", "dog")):
        for i in range(10):
            if (10 * i, c) not in kept | held:
                (tree / "train" / name / f"{i:02}.png").write_bytes(b"no image")
    assert torch.equal(load(f"folder:{tree}", image_size=8, limit=2).train.images, few.train.images)


def test_other_files_and_hidden_ones_are_passed_over(tree):
    (tree / "train" / "notes.txt").write_text("x")
    (tree / "train" / "cat" / "Thumbs.db").write_text("x")
    (tree / "train" / "cat" / ".hidden.png").write_text("x")
    (tree / "train" / ".cache").mkdir()
    assert len(load(f"folder:{tree}", validation=0, image_size=8).train) == 20


_NO_KIND = "UnidentifiedImageError: it is of no kind that Pillow knows, or breaks off in its header"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", _NO_KIND),
        (b"no image at all", _NO_KIND),
        (b"half", "OSError: "),
    ],
    ids=["empty", "text", "broken-off"],
)
def test_an_unreadable_image_is_named(tree, content, reason):
    file = tree / "val" / "dog" / "03.png"
    if content == b"half":
        out = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(out, "JPEG")
        content = out.getvalue()[:1500]
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(f"folder:{tree}", image_size=8)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"load('folder:{tree}'): an image cannot be read"
    assert lines[1].startswith(f"  got: {file}: {reason}")
    assert lines[2] == "  fix: replace or delete the file"


def test_an_empty_class_folder_is_refused(tree):
    for file in (tree / "train" / "dog").iterdir():
        file.unlink()
    with pytest.raises(DataError) as caught:
        load(f"folder:{tree}")
    assert str(caught.value) == (
        f"load('folder:{tree}'): a class folder holds no image\n"
        f"  got: {tree / 'train' / 'dog'}\n"
        "  fix: put images there, or delete the class from every part"
    )


def test_parts_of_other_classes_are_refused(tree):
    (tree / "val" / "dog").rename(tree / "val" / "wolf")
    with pytest.raises(DataError) as caught:
        load(f"folder:{tree}")
    assert str(caught.value) == (
        f"load('folder:{tree}'): 'val' must hold the class folders that 'train' holds\n"
        f"  got: {tree / 'val'}: 2 in one of them only, such as 'dog'\n"
        "  fix: give both parts the same class folders"
    )


def test_images_without_class_folders_are_refused(tmp_path):
    _tree(tmp_path, "train")
    (tmp_path / "val").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "val" / "0.png")
    with pytest.raises(DataError) as caught:
        load("folder", root=tmp_path)
    assert str(caught.value) == (
        "load('folder'): 'val' must hold a folder for each of at least two classes\n"
        f"  got: {tmp_path / 'val'}: no folder\n"
        "  fix: sort the images into one folder a class"
    )


@pytest.mark.parametrize(
    ("parts", "got"),
    [(("train",), "train"), (("val", "test"), "val, test"), ((), "no such folder")],
    ids=["train-only", "no-train", "nothing"],
)
def test_missing_parts_are_named(tmp_path, parts, got):
    root = tmp_path / "tree"
    _tree(root, *parts)
    with pytest.raises(DataError) as caught:
        load(f"folder:{root}")
    assert str(caught.value) == (
        f"load('folder:{root}'): the folder must hold 'train' and one of 'val' and 'test', each with a folder a class\n"
        f"  got: {root}: {got}\n"
        "  fix: name the folder above 'train', as 'folder:PATH'"
    )


def test_a_relative_folder_goes_by_its_absolute_path(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    name = f"folder:{tree.resolve()}"
    assert load("folder:tree", image_size=8).name == name
    assert load("folder", root="tree", image_size=8).name == name
    assert load("folder:tree/../tree", image_size=8).name == name


def test_a_class_folder_that_is_closed_is_named(tree, monkeypatch):
    really = Path.iterdir

    def closed(path):
        if path.name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(DataError) as caught:
        load(f"folder:{tree}")
    assert str(caught.value).splitlines()[:2] == [
        f"load('folder:{tree}'): '{tree / 'train' / 'dog'}' cannot be read",
        "  got: Permission denied",
    ]


def test_more_images_than_memory_holds_are_refused_before_the_first_is_read(tree, monkeypatch):
    monkeypatch.setattr(memory, "_free", lambda: 8_000_000_000)
    monkeypatch.setattr(folder_module, "decode", None)
    with pytest.raises(DataError) as caught:
        load(f"folder:{tree}", image_size=9000)
    assert str(caught.value) == (
        f"load('folder:{tree}'): the images do not fit into memory, where they are all held\n"
        "  got: 40 images of 9000 x 9000 are 9.7 GB, and 8.0 GB are free\n"
        "  fix: fewer training images by limit= (--limit), or smaller ones by image_size= (--image-size)"
    )


def test_where_free_memory_is_not_told_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "_free", lambda: None)
    memory.check_memory("load('folder')", 10**9, 10**6)


@pytest.mark.parametrize(
    ("linux", "figures", "free"),
    [
        ("MemTotal: 9 kB\nMemAvailable:    3 kB\n", {}, 3072),
        ("", {"SC_PHYS_PAGES": 5, "SC_PAGE_SIZE": 4096}, 20480),
        (None, {"SC_PHYS_PAGES": 5, "SC_PAGE_SIZE": 4096}, 20480),
        (None, {}, None),
    ],
    ids=["linux", "old linux", "unix", "not told"],
)
def test_free_memory(monkeypatch, linux, figures, free):
    def read(path):
        if linux is None:
            raise FileNotFoundError(path)
        return linux

    def figure(name):
        if name not in figures:
            raise ValueError("unrecognized configuration name")
        return figures[name]

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(os, "sysconf", figure)
    assert memory._free() == free


def _decode_one(tmp_path, image, suffix, **options):
    file = tmp_path / f"one{suffix}"
    image.save(file, **options)
    return decode("load('folder')", [file], 8)[0]


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "rgb"),
    KINDS_OF_PIXELS,
    ids=["grey", "bilevel", "grey-alpha", "alpha", "cmyk", "16-bit", "32-bit"],
)
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode, colour, suffix, rgb):
    picture = _decode_one(tmp_path, Image.new(mode, (12, 9), colour), suffix)
    assert picture.flatten(1).unique(dim=1).flatten().tolist() == list(rgb)


def test_a_palette_with_a_transparent_colour_becomes_rgb(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    picture = _decode_one(tmp_path, image, ".png", transparency=bytes([0, 128]))
    assert picture[:, 0, 0].tolist() == [9, 8, 7]


def test_pixels_of_unknown_range_are_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        _decode_one(tmp_path, Image.new("F", (8, 8), 0.5), ".tif")
    assert str(caught.value) == (
        "load('folder'): an image cannot be read\n"
        f"  got: {tmp_path / 'one.tif'}: ValueError: floating-point pixels, whose range is not known\n"
        "  fix: replace or delete the file"
    )


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "tall"])
def test_the_middle_is_cut_out_and_scaled(tmp_path, wide):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = (200, 100, 0)
    pixels[:, 12:16, 2] = 40
    picture = _decode_one(tmp_path, Image.fromarray(pixels if wide else pixels.transpose(1, 0, 2).copy()), ".png")
    expected = torch.from_numpy(pixels[:, 8:16]).permute(2, 0, 1)
    assert torch.equal(picture, expected if wide else expected.transpose(1, 2))


def test_shrinking_averages(tmp_path):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, ::2] = 200
    picture = _decode_one(tmp_path, Image.fromarray(pixels), ".png")
    assert 95 <= picture[:, :, 1:-1].min() <= picture[:, :, 1:-1].max() <= 105


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(DataError) as caught:
        decode("load('folder')", [], 8)
    assert str(caught.value) == (
        "load('folder'): reading image files needs Pillow, which is not installed\n  fix: pip install 'whatwhere[lab]'"
    )


def test_nothing_is_printed_where_nobody_watches(tmp_path, capsys):
    file = tmp_path / "one.png"
    Image.new("RGB", (2, 2)).save(file)
    decode("load('folder')", [file] * 600, 8)
    assert capsys.readouterr() == ("", "")


def test_many_images_show_a_bar_on_stderr(tmp_path, capsys, monkeypatch):
    file = tmp_path / "one.png"
    Image.new("RGB", (2, 2)).save(file)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    decode("load('folder')", [file] * 600, 8)
    out, err = capsys.readouterr()
    assert out == ""
    assert "decoding" in err
