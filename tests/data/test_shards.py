import errno
import gc
import gzip
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.trees import CLASSES, foreign, picture, shard, tree

from whatwhere.cli.shards import Shards
from whatwhere.data import load, shard_index, shard_writer, write_shards
from whatwhere.data.shard_index import INDEX
from whatwhere.data.shard_scan import part_of
from whatwhere.errors import DataError

SIZE = 0.03


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("source") / "tree")


@pytest.fixture(scope="module")
def written(source):
    out = source.parent / "written"
    write_shards(source, out, size_mb=SIZE)
    return out


@pytest.fixture
def copied(written, tmp_path):
    """Shards that a test may spoil."""
    return Path(shutil.copytree(written, tmp_path / "copied"))


def _bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _refused(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def _all(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_shards_hold_every_file_as_it_is_with_its_label(source, written):
    found = {}
    for path in written.glob("*.tar"):
        with tarfile.open(path) as tar:
            content = {member.name: tar.extractfile(member).read() for member in tar}
            assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}
        for name, data in content.items():
            if name.endswith(".jpg"):
                found[data] = (path.name.partition("-")[0], CLASSES[int(content[name.replace(".jpg", ".cls")])])
    assert found == {file.read_bytes(): file.parts[-3:-1] for file in source.rglob("*.JPEG")}


def test_the_index_says_what_there_is(written):
    index = json.loads((written / INDEX).read_text())
    assert index["classes"] == list(CLASSES)
    assert {part: each["images"] for part, each in index["parts"].items()} == {"train": 36, "val": 12}
    names = [one["name"] for each in index["parts"].values() for one in each["shards"]]
    assert names == sorted(path.name for path in written.glob("*.tar"))
    assert all(20_000 < path.stat().st_size < 50_000 for path in written.glob("train-*.tar"))
    labels = index["parts"]["train"]["shards"][0]["labels"]
    assert len(set(labels)) == 3
    assert labels != sorted(labels)
    assert [path.name for path in written.iterdir() if path.name.startswith(".")] == []


def test_the_same_source_gives_the_same_bytes(source, written, tmp_path):
    write_shards(source, tmp_path / "again", size_mb=SIZE, workers=1)
    assert _bytes(tmp_path / "again") == _bytes(written)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves the shards open
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_same_images(written):
    import webdataset

    splits = load(f"stream:{written}", image_size=16, workers=0, validation=0)
    ours = {}
    for part in (splits.train, splits.test):
        for i in range(len(part)):
            path, start, size = part._source.places(torch.tensor([i]))[0]
            ours[Path(path).read_bytes()[start : start + size]] = int(part.labels[i])
    urls = sorted(map(str, written.glob("*.tar")))
    theirs = webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg", "cls")
    raw = webdataset.WebDataset(urls, shardshuffle=False).to_tuple("jpg", "cls")
    assert {data: int(label) for data, label in raw} == ours
    decoded = [(image, label) for image, label in theirs]
    assert len(decoded) == 48
    assert {label for _, label in decoded} == {0, 1, 2}
    gc.collect()


def test_images_are_made_smaller_on_request_and_never_larger(tmp_path):
    source = tree(tmp_path / "tree", train=3, val=2)
    large = picture(1000, width=90, height=60)
    (source / "train" / "ant" / "00.JPEG").write_bytes(large)
    write_shards(source, tmp_path / "out", image_size=40)
    images = []
    for path in sorted((tmp_path / "out").glob("train*.tar")):
        with tarfile.open(path) as tar:
            images += [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]
    sizes = {Image.open(io.BytesIO(data)).size for data in images}
    assert (60, 40) in sizes
    assert {height for _, height in sizes} == {40, 30}
    untouched = {file.read_bytes() for file in (source / "train").rglob("*.JPEG")} - {large}
    assert untouched < set(images)


def test_finished_shards_are_kept_and_the_rest_is_written(source, written, tmp_path, monkeypatch):
    out, put = tmp_path / "out", shard_writer.replace_file
    count = 0

    def breaks_off(path, data):
        nonlocal count
        count += path.suffix == ".tar"
        if count > 2:
            raise KeyboardInterrupt
        put(path, data)

    monkeypatch.setattr(shard_writer, "replace_file", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        write_shards(source, out, size_mb=SIZE, workers=1)
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert len(kept) == 2
    monkeypatch.setattr(shard_writer, "replace_file", put)
    told = []
    write_shards(source, out, size_mb=SIZE, tell=told.append)
    assert {one.shard.name for one in told if one.kept} == set(kept)
    assert (told[-1].images, told[-1].total) == (48, 48)
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert _bytes(out) == _bytes(written)


def test_a_second_call_writes_only_what_is_missing(source, written, copied):
    (copied / "train-000001.tar").unlink()
    whole = (copied / "val-000000.tar").read_bytes()
    (copied / "val-000000.tar").write_bytes(whole[:5000])
    told = []
    write_shards(source, copied, size_mb=SIZE, tell=told.append)
    assert {one.shard.name for one in told if not one.kept} == {"train-000001.tar", "val-000000.tar"}
    assert _bytes(copied) == _bytes(written)


def test_a_folder_with_other_shards_is_left_alone(source, copied, tmp_path):
    before = _bytes(copied)
    assert _refused(write_shards, source, copied, size_mb=0.02) == (
        f"shards {source} {copied}: the folder holds shards of another source, or written in another way\n"
        f"  got: {copied}: train-000000.tar\n"
        "  fix: name another folder, or empty this one"
    )
    assert _bytes(copied) == before
    strange = shard(tmp_path / "strange" / "train-000000.tar", {"a.jpg": b""})
    assert "holds shards of another source" in _refused(write_shards, source, strange.parent)


def test_an_unreadable_image_is_named_and_no_index_written(tmp_path):
    source, out = tree(tmp_path / "tree"), tmp_path / "out"
    file = source / "train" / "bee" / "05.JPEG"
    file.write_bytes(file.read_bytes()[:-60])
    lines = _refused(write_shards, source, out).splitlines()
    assert lines[0] == f"shards {source} {out}: an image cannot be read"
    assert lines[1].startswith(f"  got: {file}: OSError: image file is truncated")
    assert lines[2] == "  fix: replace or delete the file"
    assert not (out / INDEX).exists()


def test_an_empty_class_and_missing_parts_are_refused(tmp_path):
    source, out = tree(tmp_path / "tree"), tmp_path / "out"
    for file in (source / "val" / "cat").iterdir():
        file.unlink()
    assert _refused(write_shards, source, out) == (
        f"shards {source} {out}: a class folder holds no image\n"
        f"  got: {source / 'val' / 'cat'}\n"
        "  fix: put images there, or delete the class from every part"
    )
    shutil.rmtree(source / "val")
    assert _refused(write_shards, source, out) == (
        f"shards {source} {out}: the folder must hold 'train' and one of 'val' and 'test', each with a folder a class\n"
        f"  got: {source}: train\n"
        "  fix: name the folder above 'train'"
    )
    assert not out.exists()


def test_no_room_is_told_before_the_first_shard(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    assert _refused(write_shards, source, tmp_path / "out") == (
        f"shards {source} {tmp_path / 'out'}: there is no room for the shards\n"
        "  got: 0.0 GB to write, 0.0 GB free\n"
        "  fix: free some space or name another folder, then run the same command again; finished shards are kept"
    )


def test_a_disk_that_fills_up_meanwhile_is_told(source, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shard_writer, "replace_file", full)
    out = tmp_path / "out"
    assert _refused(write_shards, source, out, workers=1) == (
        f"shards {source} {out}: no space left on device\n"
        f"  got: {out / '.train-000000.tar.json'}\n"
        "  fix: free some space, then run the same command again; finished shards are kept"
    )


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [({"size_mb": 0}, "size-mb: 0"), ({"image_size": -1}, "image-size: -1"), ({"workers": 0}, "workers: 0")],
)
def test_arguments_out_of_range_are_refused(source, tmp_path, wrong, shown):
    name, value = shown.split(": ")
    assert _refused(write_shards, source, tmp_path / "out", **wrong) == (
        f"shards {source} {tmp_path / 'out'} --{name}: a number above 0\n  got: --{name} {value}"
    )


def test_the_command_says_what_it_wrote(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert Shards(source, out, size_mb=1).run() == 0
    assert Shards(source, out, size_mb=1).run() == 0
    sizes = {name: f"{(out / f'{name}-000000.tar').stat().st_size / 1e6:.1f}" for name in ("train", "val")}
    summary = [
        f"{out}: 3 classes",
        f"  train: 36 images in 1 shards, {sizes['train']} MB",
        f"  val: 12 images in 1 shards, {sizes['val']} MB",
        f"read them with --data stream:{out}",
    ]
    lines = capsys.readouterr().out.splitlines()
    shards = [f"{part}-000000.tar: {count} images, {sizes[part]} MB" for part, count in (("train", 36), ("val", 12))]
    assert sorted(lines[:2]) == shards
    assert lines[2:6] == summary
    assert lines[6:] == [f"{line}, kept" for line in shards] + summary


def test_a_shard_broken_off_is_seen_at_loading(copied):
    path = copied / "train-000001.tar"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    assert _refused(load, f"stream:{copied}") == (
        f"load('stream:{copied}'): a shard is not as long as its index says\n"
        f"  got: {path}: {size // 2:,} bytes, the index says {size:,}\n"
        f"  fix: copy the shards again, or delete {INDEX}, so that they are read through anew"
    )


def test_a_shard_broken_off_later_is_seen_when_read(copied):
    splits = load(f"stream:{copied}", image_size=8, workers=0)
    path = copied / "val-000000.tar"
    path.write_bytes(path.read_bytes()[:1000])
    _, start, size = splits.test._source.places(torch.tensor([0]))[0]
    assert _refused(next, splits.test.batches(1)) == (
        f"load('stream:{copied}'): a shard ends before its index says\n"
        f"  got: {path}: 1,000 bytes, an image ends at {start + size:,}\n"
        "  fix: copy or write the shard again"
    )


def test_a_missing_shard_and_a_strange_one_are_named(copied):
    (copied / "train-000001.tar").rename(copied / "train-000009.tar")
    assert _refused(load, f"stream:{copied}") == (
        f"load('stream:{copied}'): a shard is missing\n"
        f"  got: {copied}: train-000001.tar\n"
        f"  fix: copy the shards again, or delete {INDEX}, so that they are read through anew"
    )
    shutil.copy(copied / "train-000009.tar", copied / "train-000001.tar")
    assert _refused(load, f"stream:{copied}") == (
        f"load('stream:{copied}'): a shard is not in the index\n"
        f"  got: {copied}: train-000009.tar\n"
        f"  fix: move it away, or delete {INDEX}, so that all are read through anew"
    )


def _edited(folder, edit):
    index = json.loads((folder / INDEX).read_text())
    edit(index)
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_out_of_range_is_named(copied, label):
    _edited(copied, lambda index: index["parts"]["val"]["shards"][0]["labels"].__setitem__(4, label))
    assert _refused(load, f"stream:{copied}") == (
        f"load('stream:{copied}'): a label is out of range\n"
        f"  got: val-000000.tar: label {label} for 3 classes, which count from 0\n"
        "  fix: write the shards again"
    )


def _cut(index):
    index["parts"]["train"]["shards"][0]["sizes"].pop()


def _outside(index):
    index["parts"]["train"]["shards"][0]["starts"][0] = 10**9


def _elsewhere(index):
    index["parts"]["train"]["shards"][0]["name"] = "../train-000000.tar"


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (_cut, "ValueError: train-000000.tar: starts, sizes and labels of unequal number"),
        (_outside, "ValueError: train-000000.tar: an image lies outside"),
        (_elsewhere, "TypeError: a shard's name is no file's name"),
        (lambda index: index.update(format=2), "ValueError: format 2, where 1 is read"),
        (lambda index: index.pop("classes"), "KeyError: 'classes'"),
        (lambda index: index.update(classes=[1, 2, 3]), "TypeError: the classes are no names"),
    ],
)
def test_a_damaged_index_is_told(copied, edit, why):
    _edited(copied, edit)
    assert _refused(load, f"stream:{copied}") == (
        f"load('stream:{copied}'): the index of the shards is damaged\n"
        f"  got: {copied / INDEX}: {why}\n"
        "  fix: write the shards again, or delete the index: they are then read through anew, without class names"
    )


def test_a_member_that_is_no_image_is_named_when_its_turn_comes(copied):
    splits = load(f"stream:{copied}", image_size=8, workers=0)
    path, start, size = splits.test._source.places(torch.tensor([1]))[0]
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(b"\0" * size)
    lines = _refused(next, splits.test.batches(4)).splitlines()
    assert lines[0] == f"load('stream:{copied}'): an image cannot be read"
    assert lines[1].startswith(f"  got: {path}, {size:,} bytes from {start:,}: UnidentifiedImageError: ")
    assert lines[2] == "  fix: copy the shard again, or write it from whole images"


def test_without_an_index_the_shards_are_read_through_once(written, tmp_path, monkeypatch):
    anew = Path(shutil.copytree(written, tmp_path / "anew", ignore=shutil.ignore_patterns("*.json")))
    theirs, ours = (load(f"stream:{folder}", image_size=16, workers=0) for folder in (anew, written))
    assert theirs.classes == ("0", "1", "2")
    for part in ("train", "validation", "test"):
        one, other = (_all(getattr(splits, part).batches(9)) for splits in (ours, theirs))
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert (anew / INDEX).exists()
    monkeypatch.setattr("whatwhere.data.shards.scan", None)
    assert load(f"stream:{anew}", image_size=16, workers=0).classes == ("0", "1", "2")


def test_where_the_folder_is_closed_the_index_goes_to_the_root(tmp_path, monkeypatch):
    folder, root = foreign(tmp_path / "foreign"), tmp_path / "root"
    really = shard_index.replace_file

    def closed(path, data):
        if path.parent == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        really(path, data)

    monkeypatch.setattr(shard_index, "replace_file", closed)
    load(f"stream:{folder}", root=root, image_size=8, workers=0)
    (kept,) = root.iterdir()
    assert kept.name.startswith("shards-")
    monkeypatch.setattr("whatwhere.data.shards.scan", None)
    assert len(load(f"stream:{folder}", root=root, image_size=8, workers=0).test) == 3


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train-000000.tar", "train"),
        ("imagenet-val-00.tar", "val"),
        ("imagenet1k-validation-63.tar", "val"),
        ("TEST_1.tar", "test"),
        ("train.tar", None),
        ("constrain-0.tar", None),
        ("shard-000.tar", None),
    ],
)
def test_parts_by_name(name, part):
    assert part_of(name) == part


def _foreign_with(root, name, members):
    foreign(root)
    shard(root / name, members)
    return f"stream:{root}"


@pytest.mark.parametrize(
    ("name", "members", "words"),
    [
        (
            "shard-0.tar",
            {"a.jpg": b"", "a.cls": b"0"},
            "a shard's name does not say which part it belongs to\n  got: {path}\n"
            "  fix: name shards train-000000.tar, val-000000.tar or test-000000.tar and so on",
        ),
        (
            "train-1.tar",
            {"b/7.jpg": b"", "a.jpg": b"", "a.cls": b"0"},
            "a sample of a shard has no label\n  got: {path}: b/7\n"
            "  fix: each sample is KEY.jpg (or another image) and KEY.cls",
        ),
        (
            "train-1.tar",
            {"a.cls": b"0"},
            "a sample of a shard has no image\n  got: {path}: a\n"
            "  fix: each sample is KEY.jpg (or another image) and KEY.cls",
        ),
        (
            "train-1.tar",
            {"a.jpg": b"", "a.png": b"", "a.cls": b"0"},
            "a sample of a shard has two images\n  got: {path}: a.png is the second\n"
            "  fix: give each sample of a shard a name of its own",
        ),
        (
            "train-1.tar",
            {"a.jpg": b"", "a.cls": b"cat"},
            "a label of a shard is no whole number from 0\n  got: {path}: a.cls: 'cat'\n"
            "  fix: write the class's number into KEY.cls",
        ),
        (
            "train-1.tar",
            {"a.jpg": b"", "a.cls": b"4"},
            "a class has no training image\n  got: label 3; the labels go to 4\n"
            "  fix: number the classes from 0 without a gap",
        ),
        (
            "val-1.tar",
            {"a.jpg": b"", "a.cls": b"3"},
            "'val' must hold classes that 'train' holds\n  got: label 3; those of 'train' go from 0 to 2\n"
            "  fix: number the classes of all parts alike",
        ),
    ],
)
def test_shards_of_others_that_are_wrong_are_refused(tmp_path, name, members, words):
    asked = _foreign_with(tmp_path, name, members)
    assert _refused(load, asked) == f"load('{asked}'): {words.format(path=tmp_path / name)}"
    assert not (tmp_path / INDEX).exists()


def test_shards_without_training_images_say_so_and_leave_no_index(tmp_path):
    folder = foreign(tmp_path)
    for path in folder.glob("*train*.tar"):
        path.unlink()
    asked = f"stream:{folder}"
    for _ in range(2):
        assert _refused(load, asked) == (
            f"load({asked!r}): the folder must hold shards of 'train' and of one of 'val' and 'test'\n"
            f"  got: {folder}: val\n"
            "  fix: name the folder above 'train', or the one of the shards, as 'stream:PATH'"
        )
    assert not (folder / INDEX).exists()


def _broken_shard(tmp_path):
    folder = foreign(tmp_path)
    return folder, folder / "set-train-0000.tar"


def _says_broken(folder, path, why):
    assert _refused(load, f"stream:{folder}") == (
        f"load('stream:{folder}'): a shard is no whole, uncompressed tar file\n"
        f"  got: {path}: {why}\n"
        "  fix: copy or unpack it again"
    )


@pytest.mark.parametrize("where", ["in an image", "in a header", "after a member"])
def test_a_shard_of_others_broken_off_is_named(tmp_path, where):
    folder, path = _broken_shard(tmp_path)
    with tarfile.open(path) as tar:
        member = tar.getmembers()[10]
    end = {
        "in an image": member.offset_data + member.size // 2,
        "in a header": member.offset + 100,
        "after a member": member.offset,
    }
    path.write_bytes(path.read_bytes()[: end[where]])
    whole = f"breaks off after {member.offset:,} bytes"
    _says_broken(folder, path, "ReadError: unexpected end of data" if where == "in an image" else whole)


def test_a_shard_of_others_with_a_broken_header_is_named(tmp_path):
    folder, path = _broken_shard(tmp_path)
    with tarfile.open(path) as tar:
        member = tar.getmembers()[10]
    with open(path, "r+b") as file:
        file.seek(member.offset)
        file.write(b"x" * 300)
    _says_broken(folder, path, f"breaks off after {member.offset:,} bytes")


def test_a_compressed_shard_is_refused(tmp_path):
    folder, path = _broken_shard(tmp_path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    lines = _refused(load, f"stream:{folder}").splitlines()
    assert lines[0] == f"load('stream:{folder}'): a shard is no whole, uncompressed tar file"
    assert lines[1].startswith(f"  got: {path}: ReadError: ")
    assert lines[2] == "  fix: copy or unpack it again"


def test_shards_of_one_part_only_are_refused(tmp_path):
    folder = foreign(tmp_path)
    (folder / "set-validation-0000.tar").unlink()
    assert _refused(load, f"stream:{folder}") == (
        f"load('stream:{folder}'): the folder must hold shards of 'train' and of one of 'val' and 'test'\n"
        f"  got: {folder}: train\n"
        "  fix: name the folder above 'train', or the one of the shards, as 'stream:PATH'"
    )


REAL = Path(os.environ.get("WHATWHERE_DATA", "~/.cache/whatwhere")).expanduser() / "imagenette_sub"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs photographs: the folder imagenette_sub in WHATWHERE_DATA")
def test_real_photographs_are_the_same_both_ways(tmp_path):
    write_shards(REAL, tmp_path, size_mb=4)
    tree_, shards = (load(f"stream:{root}", workers=0, limit=200, validation=0) for root in (REAL, tmp_path))
    assert len(shards.train) == 200
    rows = [sorted(row.numpy().tobytes() for row in _all(each.test.batches(50))[0]) for each in (tree_, shards)]
    assert rows[0] == rows[1]
