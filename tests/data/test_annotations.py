import json

import pytest

from whatwhere.data.annotations import Annotated, Object, fit_box
from whatwhere.data.coco import open_coco
from whatwhere.data.voc import open_voc
from whatwhere.errors import DataError

CALL = "score('photos')"


def _said(action, *arguments):
    with pytest.raises(DataError) as caught:
        action(*arguments)
    return str(caught.value)


def test_a_box_is_clipped_to_its_image():
    assert fit_box(CALL, "one", (-3, 2.5, 11, 4), (10, 8)) == (0, 2.5, 10, 4)
    assert fit_box(CALL, "one", (1, 2, 3, 4), (10, 8)) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ((5, 1, 4, 3), "5, 1 to 4, 3"),
        ((5, 3, 6, 1), "5, 3 to 6, 1"),
        ((5, 1, 5, 3), "5, 1 to 5, 3"),
        ((1, 2, float("nan"), 3), "1, 2 to nan, 3"),
        ((1, 2, float("inf"), 3), "1, 2 to inf, 3"),
    ],
    ids=["reversed across", "reversed down", "empty", "nan", "infinite"],
)
def test_a_box_that_is_none_is_refused(box, told):
    assert _said(fit_box, CALL, "a.xml, object 1 'dog'", box, (10, 8)) == (
        "score('photos'): a box is reversed or empty\n"
        f"  got: a.xml, object 1 'dog': {told}\n"
        "  fix: mend or delete the object"
    )


@pytest.mark.parametrize("box", [(10, 0, 12, 4), (-4, 0, 0, 4), (0, 8, 4, 9)])
def test_a_box_outside_is_refused(box):
    x0, y0, x1, y1 = box
    assert _said(fit_box, CALL, "a.xml", box, (10, 8)) == (
        "score('photos'): a box lies outside its image\n"
        f"  got: a.xml: {x0}, {y0} to {x1}, {y1} in 10 x 8\n"
        "  fix: mend or delete the object"
    )


def _thing(name="dog", edges=(1, 1, 4, 3), more=""):
    box = "".join(f"<{key}>{edge}</{key}>" for key, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def _image(things="", width="10"):
    return f"<annotation><size><width>{width}</width><height>8</height></size>{things}</annotation>"


@pytest.fixture
def voc(tmp_path):
    """A folder of annotations, and how to put one there."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)

    def write(name, xml):
        content = xml if isinstance(xml, bytes) else xml.encode()
        (tmp_path / "Annotations" / f"{name}.xml").write_bytes(content)
        return tmp_path

    return write


def test_voc_pixels_count_from_one_and_include_the_last(voc):
    part = "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"
    root = voc("7", _image(_thing(edges=(1, 2, 10, 8), more="<difficult>1</difficult>") + _thing("cat", more=part)))
    known = open_voc(CALL, root).read(0)
    assert known == Annotated(
        root / "JPEGImages" / "7.jpg",
        (10, 8),
        (Object("dog", (0, 1, 10, 8), difficult=True), Object("cat", (0, 0, 4, 3))),
    )


def test_a_voc_box_of_one_pixel_is_one(voc):
    known = open_voc(CALL, voc("7", _image(_thing(edges=("4", "5", "4", "5.0"))))).read(0)
    assert known.objects[0].box == (3, 4, 4, 5)


def test_voc_lists_name_the_images_of_a_part(voc):
    for name in ("3", "1", "2"):
        root = voc(name, _image())
    (root / "ImageSets" / "Main" / "test.txt").write_text("3  -1\n1   1\n\n")
    assert open_voc(CALL, root, "test").ids == ("3", "1")
    everything = open_voc(CALL, root)
    assert everything.ids == ("1", "2", "3")
    assert len(everything) == 3
    assert _said(open_voc, CALL, root, "tset") == (
        "score('photos'): no list of images has this name\n"
        f"  got: {root / 'ImageSets' / 'Main' / 'tset.txt'}\n"
        "  closest: 'test'"
    )


def test_a_folder_that_is_not_vocs_is_refused(tmp_path):
    rule = "score('photos'): the folder must hold 'Annotations' and 'JPEGImages'\n"
    fix = "  fix: name the folder above 'Annotations', such as VOCdevkit/VOC2007"
    assert _said(open_voc, CALL, tmp_path / "no") == f"{rule}  got: {tmp_path / 'no'}: no such folder\n{fix}"
    assert _said(open_voc, CALL, tmp_path) == f"{rule}  got: {tmp_path}: no 'Annotations' and no 'JPEGImages'\n{fix}"
    (tmp_path / "Annotations").mkdir()
    assert _said(open_voc, CALL, tmp_path) == f"{rule}  got: {tmp_path}: no 'JPEGImages'\n{fix}"
    (tmp_path / "JPEGImages").mkdir()
    assert _said(open_voc, CALL, tmp_path) == (
        f"score('photos'): there is no annotated image\n  got: {tmp_path}\n  fix: put one XML file an image there"
    )


_BOMB = '<!DOCTYPE a [<!ENTITY b "b">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (_BOMB, "it declares a DOCTYPE, and nothing may be declared in an annotation"),
        (_BOMB.encode("utf-16"), "it declares a DOCTYPE, and nothing may be declared in an annotation"),
        (
            '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
            "it declares a DOCTYPE, and nothing may be declared in an annotation",
        ),
        ("", "no element found: line 1, column 0"),
        ("<annotation>", "no element found: line 1, column 12"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "unknown encoding: klingon"),
    ],
    ids=["entity", "entity in UTF-16", "outer DOCTYPE", "empty", "broken off", "encoding"],
)
def test_a_voc_file_that_is_no_annotation_is_refused(voc, xml, why):
    root = voc("7", xml)
    assert _said(open_voc(CALL, root).read, 0) == (
        "score('photos'): an annotation cannot be read\n"
        f"  got: {root / 'Annotations' / '7.xml'}: {why}\n"
        "  fix: mend or delete the file"
    )


def test_a_voc_file_that_is_missing_is_told(voc):
    root = voc("7", _image())
    (root / "ImageSets" / "Main" / "val.txt").write_text("8\n")
    got = _said(open_voc(CALL, root, "val").read, 0).splitlines()[1]
    assert got == f"  got: {root / 'Annotations' / '8.xml'}: No such file or directory"


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (
            _image(width="ten"),
            "an annotation has no number at 'size/width'\n  got: FILE: 'ten'\n  fix: mend or delete the file",
        ),
        (
            _image(width="1e999"),
            "an annotation has no number at 'size/width'\n  got: FILE: '1e999'\n  fix: mend or delete the file",
        ),
        (
            "<annotation/>",
            "an annotation has no number at 'size/width'\n  got: FILE: nothing\n  fix: mend or delete the file",
        ),
        (
            _image(_thing() + _thing("cat", edges=(1, "", 2, 3))),
            "an annotation has no number at 'bndbox/ymin'\n  got: FILE, object 2 'cat': ''\n"
            "  fix: mend or delete the file",
        ),
        (_image(_thing(" ")), "an object has no name\n  got: FILE, object 1 ''\n  fix: mend or delete the object"),
        (
            _image(_thing(edges=(4, 1, 2, 3))),
            "a box is reversed or empty\n  got: FILE, object 1 'dog': 3, 0 to 2, 3\n  fix: mend or delete the object",
        ),
        (
            _image(_thing(edges=(11, 1, 12, 3))),
            "a box lies outside its image\n  got: FILE, object 1 'dog': 10, 0 to 12, 3 in 10 x 8\n"
            "  fix: mend or delete the object",
        ),
    ],
    ids=["word", "infinite", "no size", "no edge", "no name", "reversed", "outside"],
)
def test_what_is_wrong_in_a_voc_file_is_told(voc, xml, message):
    root = voc("7", xml)
    told = message.replace("FILE", str(root / "Annotations" / "7.xml"))
    assert _said(open_voc(CALL, root).read, 0) == f"score('photos'): {told}"


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
    both = (Object("cat", (1, 2, 4.5, 6)), Object("dog", (0, 0, 1, 1)))
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


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "it is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "it has no list of images"),
        (_coco(categories=None), "it has no list of categories"),
        (_coco(images=[]), "annotation 1 has image_id 4, which is not listed"),
        (_coco(images=[], annotations=[]), "it lists no image"),
        (
            _coco(images=[{"id": 4, "file_name": "b.jpg", "width": "6", "height": 6}]),
            "entry 0 of images has no valid 'width'",
        ),
        (_coco(images=[_coco()["images"][0]] * 2), "two images have the same id, 5"),
        (_coco(categories=[{"id": 18, "name": "dog"}] * 2), "two categories have the same id, 18"),
        (_coco(annotations=[_entry(), _entry(bbox=[2, 2, 1, 1])]), "two annotations have the same id, 8"),
        (json.dumps(_coco())[:-9], "it is no JSON: Unterminated string starting at: line 1 column 433 (char 432)"),
        (_coco(annotations=[3]), "entry 0 of annotations has no valid 'image_id'"),
        (_coco(annotations=[_entry(), _entry(category_id=None)]), "entry 1 of annotations has no valid 'category_id'"),
        (_coco(annotations=[_entry(category_id=19)]), "annotation 8 has category_id 19, which is not listed"),
        (_coco(annotations=[_entry(image_id=7)]), "annotation 8 has image_id 7, which is not listed"),
    ],
)
def test_a_coco_file_that_cannot_be_used_is_refused(coco, content, why):
    file = coco(content)
    assert _said(open_coco, CALL, file) == (
        f"score('photos'): the annotations cannot be used\n  got: {file}: {why}\n  fix: name a whole file of instances"
    )


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
