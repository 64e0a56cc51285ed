"""What the user may point at, and which pictures, classes and masks come of it."""

import json
import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_files import SIZE, box_mask, names_of, read_pictures, refusal, write_image, write_voc

from whatwhere.data import load, loading, write_shards
from whatwhere.explain.sources import find


def test_a_file_goes_by_its_name(tmp_path):
    (one,), problems = read_pictures(write_image(tmp_path / "sub" / "a.png"))
    assert (one.name, one.label, dict(one.masks), problems) == ("a.png", "", {}, [])
    assert one.pixels.dtype == torch.uint8
    assert one.pixels.flatten(1).unique(dim=1).tolist() == [[10], [20], [30]]


def test_a_folder_is_searched_whole_and_sub_folders_are_classes(tmp_path):
    for name in ("dog/b.png", "dog/a.JPG", "c.png", "old/dog/a.png", ".hidden/a.png", "dog/.a.png"):
        write_image(tmp_path / name)
    (tmp_path / "dog" / "notes.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    found, problems = read_pictures(tmp_path)
    assert [(one.name, one.label) for one in found] == [
        ("c.png", ""),
        ("dog/a.JPG", "dog"),
        ("dog/b.png", "dog"),
        ("old/dog/a.png", "dog"),
    ]
    assert problems == []


def test_linked_folders_are_entered_once(tmp_path):
    write_image(tmp_path / "far" / "a.png")
    write_image(tmp_path / "near" / "b.png")
    (tmp_path / "near" / "dog").symlink_to(tmp_path / "far")
    (tmp_path / "near" / "loop").symlink_to(tmp_path / "near")
    found, _ = read_pictures(tmp_path / "near")
    assert [(one.name, one.label) for one in found] == [("b.png", ""), ("dog/a.png", "dog")]


def test_a_pattern_is_matched(tmp_path, monkeypatch):
    for name in ("val/dog/1.png", "val/cat/1.png", "val/cat/2.png", "val/0.png"):
        write_image(tmp_path / name)
    (tmp_path / "val" / "1.txt").touch()
    (tmp_path / "val" / "folder.png").mkdir()
    found, problems = read_pictures(tmp_path / "val" / "**" / "*")
    assert [(one.name, one.label) for one in found] == [
        ("0.png", ""),
        ("cat/1.png", "cat"),
        ("cat/2.png", "cat"),
        ("dog/1.png", "dog"),
    ]
    assert problems == []
    monkeypatch.chdir(tmp_path)
    assert names_of("val/*/1.*") == ["cat/1.png", "dog/1.png"]
    assert names_of("*/0.png") == ["val/0.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    assert names_of(write_image(tmp_path / "a[1].png")) == ["a[1].png"]


def test_several_sources_follow_each_other(tmp_path):
    a, b = write_image(tmp_path / "a.png"), write_image(tmp_path / "b.png")
    assert names_of(b, a, b) == ["b.png", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("limit", "taken"), [(1, "0"), (3, "036"), (4, "0257"), (10, "0123456789"), (99, "0123456789")]
)
def test_a_limit_takes_some_at_even_distances(tmp_path, limit, taken):
    for i in range(10):
        write_image(tmp_path / f"{i}.png")
    assert names_of(tmp_path, limit=limit) == [f"{i}.png" for i in taken]


def test_a_name_that_is_no_text_is_shown_and_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe\x1b[2J"
    os.mkdir(path)
    with open(path + b"/\xe9.png", "wb") as file:
        Image.new("RGB", (8, 8)).save(file, "PNG")
    (one,), problems = read_pictures(tmp_path)
    assert (one.name, one.label, problems) == ("��\ufffd[2J/�.png", "��\ufffd[2J", [])
    assert names_of(os.fsdecode(path + b"/\xe9.png")) == ["�.png"]


def test_what_is_not_there_is_told_with_what_comes_near(tmp_path, monkeypatch):
    write_image(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    kinds = (
        "an image, a folder, a pattern in quotes, cifar10, cifar100, fashion-mnist, folder, imagenet, scenes, stream, "
        "folder:PATH, voc:PATH or coco:PATH"
    )
    assert refusal("photos.png") == (
        "pictures('photos.png'): there is no file, folder or data set of this name\n"
        "  closest: 'photo.png'\n"
        f"  fix: {kinds}"
    )
    assert refusal("fashion_mnist").splitlines()[1] == "  closest: 'fashion-mnist'"
    assert refusal("no/such/thing") == (
        f"pictures('no/such/thing'): there is no file, folder or data set of this name\n  fix: {kinds}"
    )


@pytest.mark.parametrize(("source", "others"), [("", 1), ("*.txt", 1), ("**/*.png", 0)])
def test_a_source_without_images_is_refused(tmp_path, source, others):
    (tmp_path / "a.txt").touch()
    there = str(tmp_path / source)
    assert refusal(there) == (
        f"pictures({there!r}): there is no image in it\n"
        f"  got: {others} other files\n"
        "  fix: name what holds files that end in .bmp, .gif, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp"
    )


def test_a_closed_folder_is_named(tmp_path, monkeypatch):
    def closed(folder, *, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", f"{folder}/dog"))
        yield

    monkeypatch.setattr(os, "walk", closed)
    assert refusal(tmp_path) == (
        f"pictures({str(tmp_path)!r}): '{tmp_path}/dog' cannot be read\n"
        "  got: Permission denied\n"
        "  fix: see that you may read it, or name another"
    )


@pytest.mark.parametrize(
    ("sources", "options", "got"),
    [
        ((), {}, "0 sources, image_size (8, 8), channels 3, limit None"),
        (("a",), {"image_size": (0, 8)}, "1 sources, image_size (0, 8), channels 3, limit None"),
        (("a",), {"channels": 4}, "1 sources, image_size (8, 8), channels 4, limit None"),
        (("a",), {"limit": 0}, "1 sources, image_size (8, 8), channels 3, limit 0"),
    ],
)
def test_arguments_out_of_range_are_refused(sources, options, got):
    assert refusal(*sources, **options) == (
        "pictures(sources, image_size, channels, limit): there is a source, sizes and the limit are 1 or more, and "
        f"channels are 1 or 3\n  got: {got}"
    )


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    assert refusal("a.png") == (
        "pictures(...): reading image files needs Pillow, which is not installed\n  fix: pip install 'whatwhere[lab]'"
    )


# Data sets.


def test_scenes_are_the_test_images_with_the_masks_of_their_targets(monkeypatch):
    monkeypatch.setattr(loading, "_SCENES_POOL", (100, 0))  # to be trained with, and not looked at here
    test = load("scenes", image_size=24).test
    found, _ = read_pictures("scenes", size=(24, 24), limit=150)
    assert len(found) == 150
    assert torch.equal(torch.stack([one.pixels for one in found]), test.images[:150])
    assert torch.equal(torch.stack([one.masks[one.label] for one in found]), test.masks[:150])
    assert (found[120].name, list(found[120].masks)) == ("scenes 120", [found[120].label])
    assert len(find("scenes", image_size=(24, 24), limit=None, root=None)) == len(test)


def test_scenes_of_another_shape_are_cut_with_their_masks():
    (whole,), _ = read_pictures("scenes", size=(48, 48), limit=1)
    (part,), _ = read_pictures("scenes", size=(24, 48), limit=1)
    assert part.pixels.shape == (3, 24, 48)
    assert torch.equal(part.pixels, whole.pixels[:, 12:36])
    assert torch.equal(part.masks[part.label], whole.masks[whole.label][12:36])


def _fashion_mnist(root):
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        (root / "fashion-mnist").mkdir(exist_ok=True)
        for name, array in (("images-idx3", images), ("labels-idx1", (np.arange(20) % 10).astype(np.uint8))):
            head = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
            (root / "fashion-mnist" / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())
    return torch.from_numpy(images)[:, None]


def test_published_sets_are_scaled_and_labelled(tmp_path):
    images = _fashion_mnist(tmp_path)
    found, problems = read_pictures("fashion-mnist", size=(28, 28), channels=1, root=tmp_path, limit=10)
    assert [one.name for one in found] == [f"fashion-mnist {2 * i}" for i in range(10)]
    assert [one.label for one in found][:3] == ["T-shirt/top", "Pullover", "Coat"]
    assert torch.equal(torch.stack([one.pixels for one in found]), images[::2])
    assert problems == []
    (one, *_), _ = read_pictures("fashion-mnist", size=(14, 14), root=tmp_path)
    assert one.pixels.shape == (3, 14, 14)
    assert one.pixels.float().mean().item() == pytest.approx(images[0].float().mean().item(), abs=1)


@pytest.fixture
def tree(tmp_path):
    for i, name in enumerate(("train/cat/0", "train/dog/0", "val/cat/1", "val/dog/2")):
        write_image(tmp_path / f"{name}.png", (i, 0, 0), SIZE)
    return tmp_path


@pytest.mark.parametrize("kind", ["folder", "stream"])
def test_of_a_folder_tree_the_test_part_is_read(tree, kind):
    rows = [("val/cat/1.png", "cat", 2), ("val/dog/2.png", "dog", 3)]
    for sources, options in (([f"{kind}:{tree}"], {}), ([kind], {"root": tree})):
        found, _ = read_pictures(*sources, **options)
        assert [(one.name, one.label, int(one.pixels[0, 0, 0])) for one in found] == rows
    write_image(tree / "test" / "cat" / "3.png")
    write_image(tree / "test" / "dog" / "3.png")
    assert names_of(f"{kind}:{tree}") == ["test/cat/3.png", "test/dog/3.png"]


def test_imagenet_lies_in_a_folder_of_its_own(tree, tmp_path_factory, monkeypatch):
    root = tmp_path_factory.mktemp("data")
    (root / "imagenet").symlink_to(tree)
    monkeypatch.setenv("WHATWHERE_DATA", str(root))
    assert names_of("imagenet") == ["val/cat/1.png", "val/dog/2.png"]


def test_shards_are_read_without_unpacking(tree, tmp_path):
    write_shards(tree, tmp_path / "shards")
    found, problems = read_pictures(f"stream:{tmp_path / 'shards'}")
    assert sorted((one.label, int(one.pixels[0, 0, 0])) for one in found) == [("cat", 2), ("dog", 3)]
    assert [one.name for one in found] == [f"stream:{tmp_path / 'shards'} {i}" for i in range(2)]
    assert problems == []


def test_a_folder_that_is_no_set_is_refused(tmp_path):
    assert refusal(f"folder:{tmp_path}") == (
        f"pictures('folder:{tmp_path}'): the folder must hold 'train' and one of 'val' and 'test', each with a "
        f"folder a class\n  got: {tmp_path}: none of them\n"
        "  fix: name the folder above 'train', or the one of the shards, as 'folder:PATH' or 'stream:PATH'"
    )


# Annotated sets.


def test_voc_boxes_become_masks_of_what_the_frame_shows(tmp_path):
    dogs = [("dog", (5, 1, 8, 2)), ("dog", (12, 8, 16, 8)), ("cat", (1, 1, 4, 8))]
    (one, two), problems = read_pictures(f"voc:{write_voc(tmp_path, a=dogs, b=[])}")
    assert (one.name, one.label, set(one.masks)) == ("a.jpg", "", {"dog"})  # the frame shows columns 5 to 12
    assert torch.equal(one.masks["dog"], box_mask(0, 0, 4, 2) | box_mask(7, 7, 8, 8))
    assert (two.name, dict(two.masks), problems) == ("b.jpg", {}, [])


def test_of_voc_test_is_taken_before_val_and_all(tmp_path):
    root = write_voc(tmp_path, a=[], b=[], c=[])
    assert names_of(f"voc:{root}") == ["a.jpg", "b.jpg", "c.jpg"]
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\n")
    assert names_of(f"voc:{root}") == ["b.jpg"]
    (lists / "test.txt").write_text("c\n")
    assert names_of(f"voc:{root}") == ["c.jpg"]


def test_one_wrong_annotation_loses_one_picture(tmp_path):
    root = write_voc(tmp_path, a=[], b=[("dog", (9, 1, 4, 2))], c=[], d=[], e=[])
    write_image(root / "JPEGImages" / "c.jpg", size=(15, 8))
    (root / "JPEGImages" / "d.jpg").unlink()
    found, problems = read_pictures(f"voc:{root}")
    assert [one.name for one in found] == ["a.jpg", "e.jpg"]
    assert problems == [
        f"b.jpg: pictures('voc:{root}'): a box is reversed or empty: {root}/Annotations/b.xml, object 1 'dog': "
        "8, 0 to 4, 2; left out",
        "c.jpg: ValueError: annotated as 16 x 8, but 15 x 8; left out",
        f"d.jpg: FileNotFoundError: [Errno 2] No such file or directory: '{root}/JPEGImages/d.jpg'; left out",
    ]


def _coco(root, part, name="a.jpg"):
    write_image(root / "images" / part / name, size=SIZE)
    (root / "annotations").mkdir(exist_ok=True)
    content = {
        "images": [{"id": 1, "file_name": name, "width": 8, "height": 8}],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{"id": 9, "image_id": 1, "category_id": 3, "bbox": [2, 3, 4, 1]}],
    }
    file = root / "annotations" / f"instances_{part}.json"
    file.write_text(json.dumps(content))
    return file


def test_coco_is_a_folder_or_a_file(tmp_path):
    train, _ = _coco(tmp_path, "train2017", "t.jpg"), _coco(tmp_path, "val2017", "v.jpg")
    (one,), _ = read_pictures(f"coco:{tmp_path}")
    assert (one.name, list(one.masks)) == ("v.jpg", ["dog"])
    assert torch.equal(one.masks["dog"], box_mask(2, 3, 6, 4))
    assert names_of(f"coco:{train}") == ["t.jpg"]
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    assert names_of(f"coco:{tmp_path}") == ["t.jpg"]


@pytest.mark.parametrize(("there", "got"), [("", "no such file there"), ("no", "no such file or folder")])
def test_a_folder_that_is_not_cocos_is_refused(tmp_path, there, got):
    assert refusal(f"coco:{tmp_path / there}") == (
        f"pictures('coco:{tmp_path / there}'): the folder must hold 'annotations/instances_*.json'\n"
        f"  got: {tmp_path / there}: {got}\n"
        "  fix: name the folder above 'annotations', or the file itself, as 'coco:PATH'"
    )
