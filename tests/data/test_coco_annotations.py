import json

import pytest

from whatwhere.data.annotations import Annotated, Object
from whatwhere.data.coco import open_coco
from whatwhere.errors import DataError

CALL = "score('photos')"


def _said(action, *arguments):
    with pytest.raises(DataError) as caught:
        action(*arguments)
    return str(caught.value)


def _coco(**changed):
    return {
        "images": [
            {"id": 5, "file_name": "b.jpg", "width": 10, "height": 8},
            {"id": 4, "file_name": "a.jpg", "width": 6, "height": 6},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 90, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 90, "bbox": [1, 2, 3.5, 9]},
            {"id": 2, "image_id": 5, "category_id": 18, "bbox": [0, 0, 2, 2], "iscrowd": 1},
            {"id": 3, "image_id": 4, "category_id": 18, "bbox": [0, 0, 1, 1], "iscrowd": 0},
        ],
        **changed,
    }


@pytest.fixture
def coco(tmp_path):
    """Writes a file of instances with its first image where COCO has it."""

    def write(content, images="images/val2017"):
        folder = tmp_path / images
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "b.jpg").touch()
        file = tmp_path / "annotations" / "instances_val2017.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    return write


def test_coco_boxes_are_widths_and_heights(coco, tmp_path):
    known = open_coco(CALL, coco(_coco()))
    folder = tmp_path / "images" / "val2017"
    assert len(known) == 2
    assert known.read(0) == Annotated(folder / "b.jpg", (10, 8), (Object("dog", (0, 0, 2, 2), crowd=True),))
    both = (Object("cat", (1, 2, 4.5, 6), cut=True), Object("dog", (0, 0, 1, 1)))
    assert known.read(1) == Annotated(folder / "a.jpg", (6, 6), both)


@pytest.mark.parametrize("images", ["images/val2017", "val2017", "images", "."])
def test_coco_images_are_found_beside(coco, tmp_path, images):
    assert open_coco(CALL, coco(_coco(), images)).path(1) == tmp_path / images / "a.jpg"


def test_coco_images_next_to_a_file_of_any_name(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(_coco()))
    folders = [tmp_path / "images" / "labels", tmp_path / "labels", tmp_path / "images", tmp_path]
    assert _said(open_coco, CALL, file) == (
        "score('photos'): the images of these annotations are not beside them\n"
        f"  got: {file}: no 'b.jpg' in {', '.join(map(str, folders))}\n"
        f"  fix: put them into {folders[0]}"
    )
    (tmp_path / "b.jpg").touch()
    assert open_coco(CALL, file).folder == tmp_path


def _entry(**keys):
    return {"id": 8, "image_id": 4, "category_id": 18, "bbox": [0, 0, 1, 1], **keys}


_UNIQUE = "give each an id of its own"
_INSTANCES = "name a file of instances, which has images, categories and annotations"
_NUMBER = "write it there as a whole number or a text, or delete the entry"


@pytest.mark.parametrize(
    ("content", "why", "fix"),
    [
        (
            "{",
            "it is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            "put the whole file there again",
        ),
        (
            json.dumps(_coco())[:-9],
            "it is no JSON: Unterminated string starting at: line 1 column 433 (char 432)",
            "put the whole file there again",
        ),
        ("[]", "it has no list of images", _INSTANCES),
        (_coco(categories=None), "it has no list of categories", _INSTANCES),
        (
            _coco(images=[]),
            "annotation 1 has image_id 4, which is not listed",
            "list that image, or delete the annotation",
        ),
        (_coco(images=[], annotations=[]), "it lists no image", "list the images that are annotated"),
        (
            _coco(images=[{"id": 4, "file_name": "b.jpg", "width": "6", "height": 6}]),
            "entry 0 of images has no valid 'width'",
            "write it there as a whole number, or delete the entry",
        ),
        (
            _coco(categories=[{"id": 4}]),
            "entry 0 of categories has no valid 'name'",
            "write it there as a text, or delete the entry",
        ),
        (_coco(images=[_coco()["images"][0]] * 2), "two images have the same id, 5", _UNIQUE),
        (_coco(categories=[{"id": 18, "name": "dog"}] * 2), "two categories have the same id, 18", _UNIQUE),
        (_coco(annotations=[_entry(), _entry(bbox=[2, 2, 1, 1])]), "two annotations have the same id, 8", _UNIQUE),
        (
            _coco(categories=[*_coco()["categories"], {"id": 3, "name": "dog"}]),
            "the categories 18 and 3 have the same name, 'dog'",
            "give each a name of its own, or make them one category",
        ),
        (_coco(annotations=[3]), "entry 0 of annotations has no valid 'image_id'", _NUMBER),
        (
            _coco(annotations=[_entry(), _entry(category_id=None)]),
            "entry 1 of annotations has no valid 'category_id'",
            _NUMBER,
        ),
        (
            _coco(annotations=[_entry(category_id=19)]),
            "annotation 8 has category_id 19, which is not listed",
            "list that category, or delete the annotation",
        ),
        (
            _coco(annotations=[_entry(image_id=7)]),
            "annotation 8 has image_id 7, which is not listed",
            "list that image, or delete the annotation",
        ),
    ],
)
def test_a_coco_file_that_cannot_be_used_is_refused(coco, content, why, fix):
    file = coco(content)
    assert _said(open_coco, CALL, file) == (
        f"score('photos'): the annotations cannot be used\n  got: {file}: {why}\n  fix: {fix}"
    )


@pytest.mark.parametrize("mark", ["0", [0], 2, None, "true"], ids=str)
def test_the_mark_of_a_crowd_is_zero_or_one(coco, mark):
    file = coco(_coco(annotations=[_entry(iscrowd=mark)]))
    assert _said(open_coco(CALL, file).read, 1) == (
        "score('photos'): 'iscrowd' is 0 or 1\n"
        f"  got: {file}, annotation 8 'dog': {mark!r}\n"
        "  fix: mend or delete the object"
    )


def test_the_mark_of_a_crowd_may_be_true_or_false(coco):
    content = _coco(annotations=[_entry(iscrowd=True), _entry(id=9, iscrowd=False)])
    assert [one.crowd for one in open_coco(CALL, coco(content)).read(1).objects] == [True, False]


def test_annotations_without_ids_are_no_twins(coco):
    entry = _entry()
    del entry["id"]
    assert len(open_coco(CALL, coco(_coco(annotations=[entry, entry]))).read(1).objects) == 2


def test_a_file_of_more_than_a_gibibyte_is_not_read(tmp_path):
    file = tmp_path / "instances.json"
    with file.open("wb") as out:
        out.truncate((1 << 30) + 1)
    assert _said(open_coco, CALL, file) == (
        "score('photos'): a file of annotations has at most 1,073,741,824 bytes, for it is read whole\n"
        f"  got: {file}: 1,073,741,825 bytes\n"
        "  fix: cut it into parts, or leave out what is none of images, categories and annotations"
    )


def test_outlines_are_not_kept(coco):
    known = open_coco(CALL, coco(_coco(annotations=[_entry(segmentation=[[0, 0, 1, 0, 1, 1]])])))
    assert known.annotations[1] == [_entry()]


def test_json_without_end_is_refused(coco):
    got = _said(open_coco, CALL, coco("[" * 200_000)).splitlines()[1]
    assert "it is no JSON: maximum recursion depth exceeded" in got


@pytest.mark.parametrize("box", [None, [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, 10**400]])
def test_a_coco_box_that_is_none_is_named_when_its_image_is_read(coco, box):
    file = coco(_coco(annotations=[_entry(bbox=box)]))
    known = open_coco(CALL, file)
    assert known.read(0).objects == ()
    assert _said(known.read, 1) == (
        "score('photos'): a box is x, y, width and height\n"
        f"  got: {file}, annotation 8 'dog': {box}\n"
        "  fix: mend or delete the object"
    )


def test_a_coco_box_without_height_is_named_when_its_image_is_read(coco):
    file = coco(_coco(annotations=[_entry(bbox=[1, 2, 3, 0])]))
    assert _said(open_coco(CALL, file).read, 1) == (
        "score('photos'): a box is reversed or empty\n"
        f"  got: {file}, annotation 8 'dog': 1, 2 to 4, 2\n"
        "  fix: mend or delete the object"
    )
