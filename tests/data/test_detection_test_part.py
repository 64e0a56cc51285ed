"""The part to report alone: as the whole set has it, though nothing else is there."""

import shutil

import pytest
import torch
from support.detection_files import coco_content, write_annotation, write_coco, write_voc

from whatwhere.data import detection_loading
from whatwhere.data.detection_loading import load_detection, load_test
from whatwhere.data.detection_voc import VOC_CLASSES
from whatwhere.errors import DataError


def _told(splits):
    part = splits.test
    objects = [[each.tolist() for each in vars(part.objects(i)).values()] for i in range(len(part))]
    return splits.name, splits.classes, splits.categories, splits.scoring, list(part.ids), part.sizes.tolist(), objects


def _said(name, **options):
    with pytest.raises(DataError) as caught:
        load_test(name, **options)
    return str(caught.value)


def test_coco_needs_nothing_of_what_is_learnt_from(tmp_path):
    val = coco_content(6, first=100)
    val["categories"].reverse()  # the order of a file is nothing to go by
    root = write_coco(tmp_path / "coco", val=val)
    whole = load_detection(f"coco:{root}", validation=0)
    (root / "annotations" / "instances_train2017.json").unlink()
    shutil.rmtree(root / "images" / "train2017")
    alone = load_test("coco", root=tmp_path)
    assert _told(alone) == _told(whole)
    assert torch.equal(alone.test.image(1), whole.test.image(1))
    assert (len(alone.train), len(alone.validation)) == (0, 0)


def test_voc_needs_no_image_to_learn_from(tmp_path):
    """Its classes are those that are learnt from even if the images that are reported show fewer."""
    root = write_voc(tmp_path, {"trainval": [1, 2], "test": [3]}, name="zebra")
    write_annotation(root, 2, (("apple", 1, 1, 5, 5, 0),))
    whole = load_detection(f"voc:{root}", validation=0)
    for number in (1, 2):
        (root / "JPEGImages" / f"{number}.jpg").unlink()
    alone = load_test(f"voc:{root}")
    assert _told(alone) == _told(whole)
    assert (alone.classes, alone.categories) == (("apple", "person", "zebra"), (1, 2, 3))
    write_annotation(root, 3, (("aple", 1, 1, 5, 5, 0),))
    assert _said(f"voc:{root}").startswith(
        f"load_test('voc:{root}'): the part to report has a class that the part to learn from has not\n"
    )


def test_voc_without_a_list_to_learn_from_has_the_classes_it_shows(tmp_path):
    root = write_voc(tmp_path / "VOC2007", {"test": [3]})
    assert load_test(f"voc:{tmp_path}").classes == VOC_CLASSES
    write_annotation(root, 3, (("zebra", 1, 1, 5, 5, 0),))
    assert load_test(f"voc:{tmp_path}").classes == ("zebra",)


def test_scenes_that_are_learnt_from_are_not_drawn(monkeypatch):
    monkeypatch.setattr(detection_loading, "_SCENES_TEST", (3, 1))
    monkeypatch.setattr(detection_loading, "_SCENES_POOL", (4, 0))
    whole = load_detection("scenes", validation=0, image_size=48)
    monkeypatch.setattr(detection_loading, "_SCENES_POOL", None)
    alone = load_test("scenes", image_size=48)
    assert _told(alone) == _told(whole)
    assert torch.equal(alone.test.images, whole.test.images)


def test_refusals_name_this_call(tmp_path):
    assert _said("coc").startswith("load_test('coc'): no detection set has this name\n")
    assert _said("voc", image_size=64) == (
        "load_test('voc', image_size=64): the images of this set have the size they were published in\n"
        "  fix: leave image_size out"
    )
    assert _said(f"coco:{tmp_path}") == (
        f"load_test('coco:{tmp_path}'): the folder must hold one 'annotations/instances_val*.json'\n"
        f"  got: {tmp_path}: none\n"
        "  fix: name the folder above 'annotations', and leave one such file in that"
    )
