import pytest

from whatwhere.data.annotations import Annotated, Object, fit_box, reaches_far
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
    ],
    ids=["reversed across", "reversed down", "empty"],
)
def test_a_box_that_is_none_is_refused(box, told):
    assert _said(fit_box, CALL, "a.xml, object 1 'dog'", box, (10, 8)) == (
        "score('photos'): a box is reversed or empty\n"
        f"  got: a.xml, object 1 'dog': {told}\n"
        "  fix: mend or delete the object"
    )


@pytest.mark.parametrize("edge", ["nan", "inf", "-inf"])
def test_a_box_of_no_finite_numbers_is_refused(edge):
    assert _said(fit_box, CALL, "a.xml, object 1 'dog'", (1, 2, float(edge), 3), (10, 8)) == (
        "score('photos'): the edges of a box are finite numbers\n"
        f"  got: a.xml, object 1 'dog': 1, 2 to {edge}, 3\n"
        "  fix: mend or delete the object"
    )


def test_far_over_the_edge_is_more_than_a_pixel_and_more_than_a_tenth():
    assert not reaches_far((-1, -1, 11, 9), (10, 8))
    assert not reaches_far((-20, -1, 220, 9), (200, 8))
    for box in ((-1.5, 0, 4, 4), (0, -1.5, 4, 4), (0, 0, 11.5, 4), (0, 0, 4, 9.5)):
        assert reaches_far(box, (10, 8))
        assert not reaches_far(box, (100, 80))


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
    assert not known.objects[0].cut


def test_a_voc_box_far_over_the_edge_is_cut_and_says_so(voc):
    known = open_voc(CALL, voc("7", _image(_thing(edges=(1, 1, 30, 8))))).read(0)
    assert known.objects == (Object("dog", (0, 0, 10, 8), cut=True),)


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
        "  closest: 'test'\n"
        "  fix: write it, the name of an image a line"
    )
    (root / "ImageSets" / "Main" / "test.txt").write_text("\n")
    assert _said(open_voc, CALL, root, "test") == (
        "score('photos'): the list of images names none\n"
        f"  got: {root / 'ImageSets' / 'Main' / 'test.txt'}\n"
        "  fix: write the name of an image on each line"
    )


def test_a_voc_list_may_begin_with_a_byte_order_mark(voc):
    root = voc("7", _image())
    (root / "ImageSets" / "Main" / "test.txt").write_text("7\n", encoding="utf-8-sig")
    assert open_voc(CALL, root, "test").ids == ("7",)


def test_a_folder_that_is_not_vocs_is_refused(tmp_path):
    rule = "score('photos'): the folder must hold 'Annotations' and 'JPEGImages'\n"
    fix = "  fix: name the folder above 'Annotations', such as VOCdevkit/VOC2007"
    assert _said(open_voc, CALL, tmp_path / "no") == f"{rule}  got: {tmp_path / 'no'}: no such folder\n{fix}"
    assert _said(open_voc, CALL, tmp_path) == f"{rule}  got: {tmp_path}: no 'Annotations' and no 'JPEGImages'\n{fix}"
    (tmp_path / "Annotations").mkdir()
    assert _said(open_voc, CALL, tmp_path) == f"{rule}  got: {tmp_path}: no 'JPEGImages'\n{fix}"
    (tmp_path / "JPEGImages").mkdir()
    assert _said(open_voc, CALL, tmp_path) == (
        f"score('photos'): there is no annotated image\n  got: {tmp_path}\n"
        "  fix: put one XML file an image into 'Annotations'"
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
    assert _said(open_voc(CALL, root, "val").read, 0) == (
        "score('photos'): an annotation cannot be read\n"
        f"  got: {root / 'Annotations' / '8.xml'}: No such file or directory\n"
        "  fix: put the file there, or take the image out of the list"
    )


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
        *(
            (
                _image(width=width),
                f"the sides of an image are whole numbers from 1 to 1,048,576\n  got: FILE: {told} x 8\n"
                "  fix: mend or delete the file",
            )
            for width, told in (("1e30", "1e+30"), ("1048577", "1048577"), ("64.7", "64.7"), ("0", "0"))
        ),
        *(
            (
                _image(_thing(more=f"<difficult>{mark}</difficult>")),
                f"'difficult' is 0 or 1\n  got: FILE, object 1 'dog': {mark!r}\n  fix: mend or delete the object",
            )
            for mark in ("true", "2", "")
        ),
    ],
    ids=[
        *("word", "infinite", "no size", "no edge", "no name", "reversed", "outside"),
        *("immense", "too wide", "broken width", "no width", "difficult: true", "difficult: 2", "difficult: nothing"),
    ],
)
def test_what_is_wrong_in_a_voc_file_is_told(voc, xml, message):
    root = voc("7", xml)
    told = message.replace("FILE", str(root / "Annotations" / "7.xml"))
    assert _said(open_voc(CALL, root).read, 0) == f"score('photos'): {told}"
