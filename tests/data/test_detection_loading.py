import json

import pytest
import torch
from PIL import Image
from support.detection_files import coco_content, write_annotation, write_coco, write_picture, write_voc

from whatwhere.data.detection_loading import load_detection
from whatwhere.data.detection_parts import targets
from whatwhere.data.detection_voc import VOC_CLASSES
from whatwhere.errors import DataError


def _said(name, **options):
    with pytest.raises(DataError) as caught:
        load_detection(name, **options)
    return str(caught.value)


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / "coco")


def _changed(tmp_path, change, train=True):
    """A COCO folder of which one file was changed, and what loading it says."""
    content = coco_content(12) if train else coco_content(6, first=100)
    change(content)
    root = write_coco(tmp_path / "coco", **{"train" if train else "val": content})
    return _said(f"coco:{root}")


def test_coco_is_what_its_files_say(coco):
    splits = load_detection(f"coco:{coco}", validation=0.25, seed=1)
    assert splits.name == f"coco:{coco.resolve()}"
    assert (splits.classes, splits.categories, splits.scoring) == (("cat", "dog"), (3, 7), "coco")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [9, 3, 6]
    assert sorted([*splits.train.ids, *splits.validation.ids]) == list(range(1, 13))
    assert list(splits.train.ids) == sorted(splits.train.ids)
    assert list(splits.test.ids) == list(range(100, 106))
    assert splits.test.sizes.tolist() == [[30, 40], [40, 30], [36, 36]] * 2
    first, second, third = (splits.test.objects(i) for i in range(3))
    assert len(first) == 0
    assert first.boxes.shape == (0, 4)
    assert second.boxes.tolist() == [[2.5, 4, 12.5, 12.5]]
    assert (second.labels.tolist(), second.areas.tolist()) == ([1], [50])
    assert third.boxes.tolist() == [[2.5, 4, 12.5, 12.5], [3.5, 4, 13.5, 12.5]]
    assert (third.labels.tolist(), third.areas.tolist()) == ([1, 0], [51, 52])
    assert splits.test.objects(4).crowd.tolist() == [True]
    assert not splits.test.known.objects.difficult.any()
    kinds = torch.float32, torch.int64, torch.float32, torch.bool, torch.bool
    assert tuple(each.dtype for each in vars(third).values()) == kinds
    assert splits.test.image(1).shape == (3, 40, 30)
    assert splits.test.image(1).dtype == torch.uint8
    assert splits.train.notes == ()


def test_taking_images_takes_their_objects(coco):
    part = load_detection(f"coco:{coco}").test
    some = part.take(torch.tensor([5, 0, 2, 5]))
    assert some.ids == [105, 100, 102, 105]
    assert some.sizes.tolist() == part.sizes[[5, 0, 2, 5]].tolist()
    for i, old in enumerate([5, 0, 2, 5]):
        for ours, theirs in zip(vars(some.objects(i)).values(), vars(part.objects(old)).values(), strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(some.image(i), part.image(old))


def test_crowds_are_no_targets(coco):
    part = load_detection(f"coco:{coco}").test
    boxes, labels = targets(part, 4)
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))
    assert targets(part, 2)[1].tolist() == [1, 0]


def test_a_limit_takes_some_of_the_training_images(coco):
    whole, few = (load_detection(f"coco:{coco}", validation=0.25, limit=limit) for limit in (None, 4))
    assert len(few.train) == 4
    assert set(few.train.ids) < set(whole.train.ids)
    assert few.validation.ids == whole.validation.ids
    assert few.test.ids == whole.test.ids
    other = load_detection(f"coco:{coco}", validation=0.25, seed=5)
    assert other.validation.ids != whole.validation.ids
    assert len(load_detection(f"coco:{coco}", validation=0).validation) == 0


def test_names_alone_lie_below_the_root(tmp_path, monkeypatch):
    write_coco(tmp_path / "coco")
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", {"trainval": [1, 2, 3], "test": [4]})
    assert load_detection("coco", root=tmp_path).name == f"coco:{(tmp_path / 'coco').resolve()}"
    monkeypatch.setenv("WHATWHERE_DATA", str(tmp_path))
    assert load_detection("voc", validation=0).name == f"voc:{(tmp_path / 'VOCdevkit').resolve()}"


def test_an_unknown_name_is_refused():
    assert _said("cocos") == (
        "load_detection('cocos'): no detection set has this name\n"
        "  closest: 'coco', 'voc'\n"
        "  fix: one of coco, voc, scenes, coco:PATH or voc:PATH"
    )
    for name in ("coco:", "scenes:here", ""):
        assert _said(name).startswith(f"load_detection({name!r}): no detection set has this name\n")


def test_arguments_out_of_range_are_refused(coco):
    name = f"coco:{coco}"
    rule = "the share must lie in [0, 1) and leave an image in either part\n  got: 12 images to share out"
    for share in (1, -0.1, 0.01, 0.99):
        assert _said(name, validation=share) == f"load_detection(validation={share}): {rule}"
    for limit in (0, 12):
        assert _said(name, limit=limit) == (
            f"load_detection(limit={limit}): the limit must lie between 1 and the number of training images\n"
            "  got: 11 training images, 1 held for validation"
        )
    assert _said(name, image_size=64) == (
        f"load_detection({name!r}, image_size=64): the images of this set have the size they were published in\n"
        "  fix: leave image_size out"
    )


def test_a_folder_without_its_two_files_is_refused(tmp_path, coco):
    fix = "  fix: name the folder above 'annotations', and leave one such file in that"
    rule = "the folder must hold one 'annotations/instances_train*.json'"
    none = tmp_path / "no"
    assert _said(f"coco:{none}") == f"load_detection('coco:{none}'): {rule}\n  got: {none}: no such folder\n{fix}"
    old = coco / "annotations" / "instances_train2014.json"
    old.write_text("{}")
    found = "instances_train2014.json, instances_train2017.json"
    assert _said(f"coco:{coco}") == f"load_detection('coco:{coco}'): {rule}\n  got: {coco}: {found}\n{fix}"


def test_parts_of_other_categories_are_refused(tmp_path):
    def rename(content):
        content["categories"][1]["name"] = "lion"

    assert _changed(tmp_path, rename, train=False) == (
        f"load_detection('coco:{tmp_path / 'coco'}'): both parts must list the same categories\n"
        "  got: 'instances_train2017.json' and 'instances_val2017.json' differ in 1, such as 3 'lion'\n"
        "  fix: give both files one list of categories"
    )


def test_categories_stand_in_the_order_of_their_numbers(tmp_path):
    val = coco_content(6, first=100)
    val["categories"].reverse()
    splits = load_detection(f"coco:{write_coco(tmp_path, val=val)}")
    assert splits.categories == (3, 7)
    assert splits.test.objects(2).labels.tolist() == [1, 0]


def test_missing_images_are_counted_at_loading(coco):
    for name in ("0102.jpg", "0105.jpg"):
        (coco / "images" / "val2017" / name).unlink()
    assert _said(f"coco:{coco}") == (
        f"load_detection('coco:{coco}'): 2 of 6 images that 'instances_val2017.json' lists have no file\n"
        f"  got: the first is {coco / 'images' / 'val2017' / '0102.jpg'}\n"
        "  fix: put the missing images there, or take them out of the list"
    )


@pytest.mark.parametrize(
    ("box", "rule", "told"),
    [
        ([10, 5, -3, 4], "a box is reversed or empty", "10, 5 to 7, 9"),
        ([10, 5, 0, -4], "a box is reversed or empty", "10, 5 to 10, 1"),
        ([float("nan"), 5, 3, 4], "the edges of a box are finite numbers", "nan, 5 to nan, 9"),
        ([1, 5, float("inf"), 4], "the edges of a box are finite numbers", "1, 5 to inf, 9"),
        ([30, 5, 2, 4], "a box lies outside its image", "30, 5 to 32, 9 in 30 x 40"),
        ([-3, 5, 2, 4], "a box lies outside its image", "-3, 5 to -1, 9 in 30 x 40"),
    ],
)
def test_boxes_that_are_none_are_refused(tmp_path, box, rule, told):
    def change(content):
        content["annotations"][0]["bbox"] = box

    file = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    assert _changed(tmp_path, change) == (
        f"load_detection('coco:{tmp_path / 'coco'}'): {rule}\n"
        f"  got: {file}, annotation 10 'dog': {told}\n"
        "  fix: mend or delete the object"
    )


def test_boxes_over_the_edge_are_cut(tmp_path):
    train = coco_content(12)
    train["annotations"][0]["bbox"] = [-0.25, 5, 30.5, 35.125]
    splits = load_detection(f"coco:{write_coco(tmp_path, train=train)}", validation=0)
    assert splits.train.objects(1).boxes.tolist() == [[0, 5, 30, 40]]


def test_objects_without_area_are_left_out_and_told(tmp_path):
    train = coco_content(12)
    for i, box in ((1, [3, 4, 0, 5]), (2, [3, 4, 5, 0]), (5, [50, 50, 0, 0])):
        train["annotations"][i]["bbox"] = box
    splits = load_detection(f"coco:{write_coco(tmp_path, train=train)}", validation=0)
    assert [len(splits.train.objects(i)) for i in range(6)] == [0, 1, 0, 0, 1, 1]
    assert splits.train.notes == ("instances_train2017.json: 3 objects of no area left out, annotation 11 first",)
    assert splits.test.notes == ()


def test_corners_where_widths_are_due_are_seen(tmp_path):
    def corners(content):
        for one in content["annotations"]:
            x, y, wide, high = one["bbox"]
            one["bbox"] = [x + 15, y + 15, x + 15 + wide, y + 15 + high]

    file = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    assert _changed(tmp_path, corners) == (
        f"load_detection('coco:{tmp_path / 'coco'}'): the boxes look like x0, y0, x1, y1 where COCO has x, y, width, "
        "height\n"
        f"  got: {file}: 12 of 12 boxes would reach over the edge of their image, and 12 fit as corners\n"
        "  fix: write width and height into 'bbox'"
    )


def test_one_box_that_reaches_over_does_not_make_them_corners(tmp_path):
    train = coco_content(12)
    train["annotations"][0]["bbox"] = [20, 20, 25, 30]
    assert len(load_detection(f"coco:{write_coco(tmp_path, train=train)}").train) == 11


@pytest.mark.parametrize("area", ["12", None, -1, float("nan"), 10**400], ids=str)
def test_an_area_is_a_number(tmp_path, area):
    def change(content):
        content["annotations"][2]["area"] = area

    file = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    assert _changed(tmp_path, change) == (
        f"load_detection('coco:{tmp_path / 'coco'}'): the area of an object is a number of square pixels\n"
        f"  got: {file}, annotation 12 'cat': {area!r}\n"
        "  fix: mend or delete the object"
    )


def test_an_area_that_is_not_told_is_that_of_the_box(tmp_path):
    train = coco_content(12)
    del train["annotations"][0]["area"]
    splits = load_detection(f"coco:{write_coco(tmp_path, train=train)}", validation=0)
    assert splits.train.objects(1).areas.tolist() == [85]


def test_an_image_without_a_width_is_refused(tmp_path):
    def change(content):
        content["images"][1]["width"] = 0

    file = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    assert _changed(tmp_path, change) == (
        f"load_detection('coco:{tmp_path / 'coco'}'): the sides of an image are whole numbers from 1 to 1,048,576\n"
        f"  got: {file}, image 2: 0 x 40\n"
        "  fix: mend or delete the image"
    )


def test_an_id_of_a_category_is_a_number(tmp_path):
    def change(content):
        content["categories"].append({"id": "z", "name": "zebra"})

    train, val = coco_content(12), coco_content(6, first=100)
    change(train)
    change(val)
    root = write_coco(tmp_path, train=train, val=val)
    assert _said(f"coco:{root}") == (
        f"load_detection('coco:{root}'): the id of a category is a whole number\n"
        f"  got: {root / 'annotations' / 'instances_train2017.json'}: 'z'\n"
        "  fix: number the categories, and give the annotations those numbers"
    )


def test_nothing_to_learn_from_is_refused(tmp_path):
    train = coco_content(12)
    train["annotations"] = [{**one, "iscrowd": 1} for one in train["annotations"]]
    root = write_coco(tmp_path, train=train)
    told = (
        f"load_detection('coco:{root}'): there is nothing to learn from: no training image has an object\n"
        "  got: 11 images\n"
        "  fix: annotate some, or raise limit="
    )
    assert _said(f"coco:{root}") == told
    train["annotations"] = []
    write_coco(tmp_path, train=train)
    assert _said(f"coco:{root}") == told


def test_a_part_without_objects_can_be_reported(tmp_path):
    val = coco_content(6, first=100)
    val["annotations"] = []
    part = load_detection(f"coco:{write_coco(tmp_path, val=val)}").test
    assert [len(part.objects(i)) for i in range(6)] == [0] * 6


def test_an_image_of_another_size_is_told_when_read(coco):
    part = load_detection(f"coco:{coco}").test
    file = coco / "images" / "val2017" / "0101.jpg"
    write_picture(file, (40, 30))
    with pytest.raises(DataError) as caught:
        part.image(1)
    assert str(caught.value) == (
        f"load_detection('coco:{coco}'): an image is not of the size that its annotation tells, so its boxes are of "
        "another one\n"
        f"  got: {file}: 40 x 30, annotated as 30 x 40\n"
        "  fix: put back the image that was annotated, or mend the annotation"
    )
    file.write_bytes(b"text")
    with pytest.raises(DataError, match="an image cannot be read"):
        part.image(1)
    file.unlink()
    with pytest.raises(DataError) as caught:
        part.image(1)
    assert str(caught.value) == (
        f"load_detection('coco:{coco}'): '{file}' cannot be read\n"
        "  got: No such file\n"
        "  fix: put it back where it was when the set was loaded, or load the set again"
    )


def test_images_are_not_turned_and_grey_becomes_rgb(coco):
    part = load_detection(f"coco:{coco}").test
    folder = coco / "images" / "val2017"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40), (9, 9, 9)).save(folder / "0101.jpg", exif=exif)
    Image.new("L", (40, 30), 77).save(folder / "0100.jpg")
    assert part.image(1).shape == (3, 40, 30)
    assert part.image(0).unique().tolist() == [77]


def test_voc_learns_from_both_years_and_reports_the_first(tmp_path):
    write_voc(tmp_path / "VOC2007", {"trainval": ["000001", "000002"], "test": ["000003"]})
    write_voc(tmp_path / "VOC2012", {"trainval": ["2008_000001", "2008_000002"], "train": ["2008_000001"]})
    splits = load_detection(f"voc:{tmp_path}", validation=0)
    assert splits.classes == VOC_CLASSES
    assert len(set(VOC_CLASSES)) == 20
    assert splits.categories == tuple(range(1, 21))
    assert splits.scoring == "voc"
    assert list(splits.train.ids) == ["000001", "000002", "2008_000001", "2008_000002"]
    assert list(splits.test.ids) == ["000003"]
    known = splits.test.objects(0)
    assert known.boxes.tolist() == [[0, 1, 10, 12], [2, 2, 3, 3]]
    assert known.areas.tolist() == [110, 1]
    assert [VOC_CLASSES[label] for label in known.labels.tolist()] == ["dog", "person"]
    assert known.difficult.tolist() == [False, True]
    assert not known.crowd.any()
    assert targets(splits.test, 0)[1].tolist() == known.labels.tolist()
    assert splits.train.image(3).shape == (3, 16, 20)
    assert splits.train.sizes.tolist() == [[16, 20]] * 4


def test_one_year_without_test_images_reports_val(tmp_path):
    root = write_voc(tmp_path / "mine", {"train": [1, 2], "val": [3], "trainval": [1, 2, 3]}, name="zebra")
    splits = load_detection(f"voc:{root}", validation=0)
    assert splits.classes == ("person", "zebra")
    assert splits.categories == (1, 2)
    assert list(splits.train.ids) == ["1", "2"]
    assert list(splits.test.ids) == ["3"]


def test_a_class_that_is_never_taught_is_refused(tmp_path):
    root = write_voc(tmp_path, {"trainval": [1, 2], "test": [3]})
    write_annotation(root, 3, (("dogg", 1, 1, 5, 5, 0),))
    assert _said(f"voc:{root}", validation=0) == (
        f"load_detection('voc:{root}'): the part to report has a class that the part to learn from has not\n"
        f"  got: 'dogg' in the annotation of {root / 'JPEGImages' / '3.jpg'}\n"
        "  closest: 'dog'\n"
        "  fix: mend the name, or teach the class"
    )


def test_voc_files_that_are_missing_are_told(tmp_path):
    root = write_voc(tmp_path, {"trainval": [1, 2], "test": [3]})
    (root / "JPEGImages" / "2.jpg").unlink()
    assert _said(f"voc:{root}") == (
        f"load_detection('voc:{root}'): 1 of 2 images that 'Main' lists have no file\n"
        f"  got: the first is {root / 'JPEGImages' / '2.jpg'}\n"
        "  fix: put the missing images there, or take them out of the list"
    )
    (root / "Annotations" / "1.xml").unlink()
    assert _said(f"voc:{root}") == (
        f"load_detection('voc:{root}'): an annotation cannot be read\n"
        f"  got: {root / 'Annotations' / '1.xml'}: No such file or directory\n"
        "  fix: put the file there, or take the image out of the list"
    )


@pytest.mark.parametrize("lists", [{"trainval": [1, 2], "test": [2]}, {"trainval": [2, 2], "test": [3]}])
def test_an_image_listed_twice_is_refused(tmp_path, lists):
    root = write_voc(tmp_path, lists)
    assert _said(f"voc:{root}") == (
        f"load_detection('voc:{root}'): an image is listed once, in one part only\n"
        f"  got: '2' is listed twice in {root / 'ImageSets' / 'Main'}\n"
        "  fix: take it out of one list"
    )


def test_a_voc_image_without_a_width_is_refused(tmp_path):
    root = write_voc(tmp_path, {"trainval": [1, 2], "test": [3]})
    write_annotation(root, 2, (), size=(0, 16))
    assert _said(f"voc:{root}") == (
        f"load_detection('voc:{root}'): the sides of an image are whole numbers from 1 to 1,048,576\n"
        f"  got: {root / 'Annotations' / '2.xml'}: 0 x 16\n"
        "  fix: mend or delete the file"
    )


def test_what_the_system_refuses_is_told(tmp_path):
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations" / "instances_train2017.json"
    file.symlink_to(tmp_path / "gone")
    assert _said(f"coco:{tmp_path}") == (
        f"load_detection('coco:{tmp_path}'): '{file}' cannot be read\n"
        "  got: No such file or directory\n"
        "  fix: see that it is there and you may read it, or name another folder by root= or WHATWHERE_DATA"
    )


def test_a_cut_off_file_is_refused(coco):
    file = coco / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps(coco_content(6, first=100))[:200])
    lines = _said(f"coco:{coco}").splitlines()
    assert lines[0] == f"load_detection('coco:{coco}'): the annotations cannot be used"
    assert lines[1].startswith(f"  got: {file}: it is no JSON: ")
    assert lines[2] == "  fix: put the whole file there again"
