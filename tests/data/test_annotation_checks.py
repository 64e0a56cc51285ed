"""What a whole part tells that no single object does."""

import pytest
import torch
from support.detection_files import coco_content, write_annotation, write_coco, write_voc

from whatwhere.data.detection_coco import coco_parts
from whatwhere.data.detection_voc import VOC_CLASSES, voc_parts
from whatwhere.errors import DataError

CALL = "load('set')"


def _said(parts, root):
    with pytest.raises(DataError) as caught:
        parts(CALL, root)
    return str(caught.value)


def _with_boxes(root, change):
    """A COCO folder of which the training boxes were changed, and its annotations."""
    train = coco_content(60)
    for i, one in enumerate(train["annotations"]):
        one["bbox"] = change(i, one["bbox"])
    return write_coco(root, train=train, val=coco_content(6, first=100))


def _corners(odd):
    """All boxes as corners, the first ``odd`` of them such that they are none in their image."""

    def change(i, box):
        x, y, wide, high = box
        return [20, 20, 46, 15] if i < odd else [x + 15, y + 15, x + 15 + wide, y + 15 + high]

    return change


def test_a_few_odd_boxes_do_not_hide_that_all_are_corners(tmp_path):
    root = _with_boxes(tmp_path, _corners(3))
    assert _said(coco_parts, root) == (
        f"{CALL}: the boxes look like x0, y0, x1, y1 where COCO has x, y, width, height\n"
        f"  got: {root / 'annotations' / 'instances_train2017.json'}: 60 of 60 boxes would reach over the edge of "
        "their image, and 57 fit as corners\n"
        "  fix: write width and height into 'bbox'"
    )


def test_more_odd_boxes_do(tmp_path):
    learn = coco_parts(CALL, _with_boxes(tmp_path, _corners(4)))[2]
    assert len(learn) == 60


@pytest.mark.parametrize(("pixels", "shares"), [(0, 60), (3, 57)])
def test_shares_of_the_image_are_refused_as_boxes_of_coco(tmp_path, pixels, shares):
    root = _with_boxes(tmp_path, lambda i, box: box if i < pixels else [0.5, 0.25, 0.5, 1])
    assert _said(coco_parts, root) == (
        f"{CALL}: the edges of a box are told in pixels, not in shares of the image\n"
        f"  got: {root / 'annotations' / 'instances_train2017.json'}: {shares} of 60 boxes lie within 0 and 1\n"
        "  fix: multiply them by the width and the height of their image"
    )


def test_some_boxes_may_be_as_small_as_a_pixel(tmp_path):
    learn = coco_parts(CALL, _with_boxes(tmp_path, lambda i, box: box if i < 4 else [0.5, 0.25, 0.5, 0.5]))[2]
    assert learn.objects(59).boxes.tolist() == [[0.5, 0.25, 1, 0.75]] * 2


def test_shares_of_the_image_are_refused_as_boxes_of_voc(tmp_path):
    root = write_voc(tmp_path, {"train": [1, 2], "val": [3]})
    for number in (1, 2):
        write_annotation(root, number, (("dog", 0.1, 0.2, 0.9, 1, 0),))
    assert _said(voc_parts, root) == (
        f"{CALL}: the edges of a box are told in pixels, not in shares of the image\n"
        f"  got: {root / 'Annotations'}: 2 of 2 boxes lie within 0 and 1\n"
        "  fix: multiply them by the width and the height of their image"
    )


def test_a_pixel_of_an_image_of_one_is_no_share(tmp_path):
    root = write_voc(tmp_path, {"train": [1], "val": [2]})
    write_annotation(root, 1, (("dog", 1, 1, 1, 1, 0),), size=(1, 1))
    assert voc_parts(CALL, root)[2].objects(0).boxes.tolist() == [[0, 0, 1, 1]]


def test_boxes_cut_far_over_the_edge_are_told(tmp_path):
    train = coco_content(30)
    far = {2: [-300, -10, 310, 50], 5: [5, 5, 500, 500]}
    for i, box in far.items():
        train["annotations"][i]["bbox"] = box
    train["annotations"][0]["bbox"] = [-0.25, 5, 30.5, 36]
    train["annotations"][7]["bbox"] = [900, 5, 0, 4]
    _, _, learn, report = coco_parts(CALL, write_coco(tmp_path, train=train))
    assert learn.notes == (
        "instances_train2017.json: an object of no area left out, annotation 17 first",
        "instances_train2017.json: 2 boxes cut that reached far over the edge, annotation 12 first",
    )
    assert report.notes == ()
    everything = torch.cat([learn.objects(i).boxes for i in range(30)])
    assert everything[2].tolist() == [0, 0, 10, 36]
    assert everything[5].tolist() == [5, 5, 36, 36]


def test_one_box_cut_is_told_as_one(tmp_path):
    train = coco_content(30)
    train["annotations"][2]["bbox"] = [-300, -10, 310, 50]
    learn = coco_parts(CALL, write_coco(tmp_path, train=train))[2]
    assert learn.notes == ("instances_train2017.json: a box cut that reached far over the edge, annotation 12 first",)


def test_voc_boxes_cut_far_over_the_edge_are_told(tmp_path):
    root = write_voc(tmp_path, {"train": [1, 2, 3], "val": [4]})
    write_annotation(root, 2, (("dog", 1, 1, 3000, 5, 0), ("cat", 1, 1, 21, 5, 0)))
    _, _, learn, report = voc_parts(CALL, root)
    first = f"far over the edge, the first in the annotation of {root / 'JPEGImages' / '2.jpg'}"
    assert learn.notes == (f"a box cut that reached {first}",)
    assert learn.objects(1).boxes.tolist() == [[0, 0, 20, 5], [0, 0, 20, 5]]
    assert report.notes == ()
    write_annotation(root, 3, (("dog", 1, 1, 3000, 5, 0),))
    assert voc_parts(CALL, root)[2].notes == (f"2 boxes cut that reached {first}",)


def test_an_image_file_of_two_ids_is_refused(tmp_path):
    val = coco_content(6, first=100)
    val["images"][4]["file_name"] = "./0101.jpg"
    root = write_coco(tmp_path, val=val)
    assert _said(coco_parts, root) == (
        f"{CALL}: an image file is listed once, in one part only\n"
        f"  got: {root.resolve() / 'images' / 'val2017' / '0101.jpg'} is image 101 of 'instances_val2017.json' and "
        "image 104 of 'instances_val2017.json'\n"
        "  fix: take it out of one list"
    )


def test_an_image_file_in_both_parts_is_refused(tmp_path):
    val = coco_content(6, first=100)
    val["images"][2]["file_name"] = "../train2017/0003.jpg"
    root = write_coco(tmp_path, val=val)
    assert _said(coco_parts, root) == (
        f"{CALL}: an image file is listed once, in one part only\n"
        f"  got: {root.resolve() / 'images' / 'train2017' / '0003.jpg'} is image 3 of 'instances_train2017.json' and "
        "image 102 of 'instances_val2017.json'\n"
        "  fix: take it out of one list"
    )


@pytest.mark.parametrize("name", ["caat", "Cat", "persons"])
def test_a_name_that_is_nearly_vocs_is_refused_among_vocs(tmp_path, name):
    root = write_voc(tmp_path, {"train": [1, 2], "val": [3]})
    write_annotation(root, 2, (("dog", 1, 2, 10, 12, 0), (name, 1, 2, 10, 12, 0)))
    meant = "person" if name == "persons" else "cat"
    assert _said(voc_parts, root) == (
        f"{CALL}: the classes are VOC's but for names that are nearly VOC's\n"
        f"  got: {name!r}, object 2 in the annotation of {root / 'JPEGImages' / '2.jpg'}\n"
        f"  closest: {meant!r}\n"
        "  fix: mend the name, or give a class of your own one that is less like VOC's"
    )


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("dog", "goat"), ("dog", "goat")),
        (("Cat", "Dog"), ("Cat", "Dog")),
        (("caat", "dog", "zebra"), ("caat", "dog", "zebra")),
        (("cat", "dog"), VOC_CLASSES),
    ],
)
def test_classes_of_ones_own_are_taken_as_they_are(tmp_path, names, classes):
    root = write_voc(tmp_path, {"train": [1], "val": [2]})
    for number in (1, 2):
        write_annotation(root, number, tuple((name, 1, 2, 10, 12, 0) for name in names))
    assert voc_parts(CALL, root)[0] == classes
