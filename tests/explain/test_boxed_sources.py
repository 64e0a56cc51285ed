"""Pictures for detectors: what the user may point at, what is known of it, and what is said of what cannot be read."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.detection_files import write_coco, write_picture, write_voc

from whatwhere.data import detection_loading, scenes_many
from whatwhere.errors import DataError
from whatwhere.explain.boxed_sources import boxed_pictures


def opened(sources, problems, **options):
    """By a detector whose classes are those of the first set that is named."""
    sets = [str(source) for source in sources if str(source).partition(":")[0] in ("coco", "voc")]
    if sets:
        known = detection_loading.load_test(sets[0], root=options.get("root"))
        options = {"classes": known.classes, "categories": known.categories, **options}
    usual = {"classes": scenes_many.CLASSES, "categories": range(1, len(scenes_many.CLASSES) + 1)}
    return boxed_pictures([str(source) for source in sources], problems, **{**usual, **options})


def looked(*sources, **options):
    problems = []
    return list(opened(sources, problems, **options)), problems


def refusal(*sources, **options):
    with pytest.raises(DataError) as caught:
        looked(*sources, **options)
    return str(caught.value)


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(("b.png", "a.png", "in/c.png")):
        write_picture(tmp_path / "photos" / name, (20, 14), number)
    return tmp_path / "photos"


def test_files_are_whole_and_nothing_is_known_of_them(photos):
    (one,), problems = looked(photos / "a.png")
    assert (one.name, one.truth, one.id, problems) == ("a.png", None, None, [])
    expected = torch.from_numpy(np.array(Image.open(photos / "a.png"))).permute(2, 0, 1)
    assert torch.equal(one.pixels, expected)
    assert one.pixels.shape == (3, 14, 20)


def test_folders_patterns_and_limits(photos):
    def names(*sources, **options):
        return [one.name for one in looked(*sources, **options)[0]]

    assert names(photos) == ["a.png", "b.png", "in/c.png"]
    assert names(photos / "*.png") == ["a.png", "b.png"]
    assert names(photos / "in", photos / "b.png") == ["c.png", "b.png"]
    assert names(photos, limit=2) == ["a.png", "b.png"]
    assert names(photos / "in", photos, limit=2) == ["c.png", "a.png"]


def test_pictures_are_turned_as_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    Image.new("L", (8, 5)).save(tmp_path / "a.jpg", exif=exif)
    (one,), _ = looked(tmp_path / "a.jpg")
    assert one.pixels.shape == (3, 8, 5)


def test_a_broken_file_is_told_and_loses_no_other(photos):
    (photos / "aa.png").write_bytes(b"\x89PNG and no more")
    found, (problem,) = looked(photos)
    assert [one.name for one in found] == ["a.png", "b.png", "in/c.png"]
    assert problem.startswith(f"detect predict('{photos}'): an image cannot be read ({photos}/aa.png: ")


def test_pictures_are_read_one_by_one(photos):
    problems = []
    pictures = opened([photos], problems)
    next(pictures)
    (photos / "b.png").unlink()
    assert [one.name for one in pictures] == ["in/c.png"]
    assert len(problems) == 1
    assert f"{photos}/b.png" in problems[0]


def test_sets_bring_their_objects_and_numbers(tmp_path):
    coco = write_coco(tmp_path / "coco")
    found, _ = looked(f"coco:{coco}")
    assert [one.id for one in found] == list(range(100, 106))
    assert [len(one.truth) for one in found] == [0, 1, 2, 0, 1, 2]
    assert found[1].pixels.shape == (3, 40, 30)
    voc = write_voc(tmp_path / "VOCdevkit" / "VOC2007", {"trainval": ["000001"], "test": ["000002", "000003"]})
    assert voc.exists()
    found, _ = looked("voc", root=tmp_path, limit=1)
    assert [(one.name, one.id, len(one.truth)) for one in found] == [("000002", "000002", 2)]


def test_scenes_are_those_that_are_reported(monkeypatch):
    monkeypatch.setattr(detection_loading, "_SCENES_POOL", (4, 0))
    monkeypatch.setattr(detection_loading, "_SCENES_TEST", (3, 1))
    found, _ = looked("scenes", limit=2)
    test = detection_loading.load_detection("scenes", validation=0).test
    assert len(found) == 2
    assert all(torch.equal(one.pixels, test.image(index)) for index, one in enumerate(found))
    assert len(looked("scenes")[0]) == 3


def test_two_pictures_of_one_name_are_refused_before_any_is_read(photos, tmp_path):
    """A results file has names alone: what is found in both would be scored as found in one."""
    write_picture(tmp_path / "more" / "b.png", (20, 14))
    sources = photos, tmp_path / "more"
    (photos / "a.png").write_bytes(b"x")
    problems = []
    with pytest.raises(DataError) as caught:
        next(opened(sources, problems))
    assert str(caught.value) == (
        f"detect predict('{photos} {tmp_path}/more'): two pictures have one name, by which a results file tells them "
        f"apart\n  got: 'b.png' in '{photos}' and in '{tmp_path}/more'\n"
        "  fix: name a folder above both, or look at each source in a call of its own"
    )
    assert problems == []
    assert len(looked(*sources, limit=3)[0]) == 2
    assert [one.name for one in looked(tmp_path)[0]] == ["more/b.png", "photos/b.png", "photos/in/c.png"]


def test_numbers_of_two_sets_may_clash_too(tmp_path):
    first, second = (write_coco(tmp_path / name) for name in ("one", "two"))
    assert refusal(f"coco:{first}", f"coco:{second}").splitlines()[1] == (
        f"  got: 100 in 'coco:{first}' and in 'coco:{second}'"
    )


def test_a_folder_of_a_sets_name_comes_first(photos, monkeypatch):
    photos.rename(photos.parent / "scenes")
    monkeypatch.chdir(photos.parent)
    assert len(looked("scenes")[0]) == 3


FIX = "  fix: an image, a folder, a pattern in quotes, coco, voc, scenes, coco:PATH or voc:PATH"


def test_what_is_not_there_is_refused_with_the_closest(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    rule = "detect predict({!r}): there is no file, folder or data set of this name\n"
    assert refusal("fotos") == rule.format("fotos") + f"  closest: 'photos'\n{FIX}"
    assert refusal("scene") == rule.format("scene") + f"  closest: 'scenes'\n{FIX}"
    assert refusal("cifar10") == rule.format("cifar10") + FIX
    assert refusal("nowhere/at/all.png") == rule.format("nowhere/at/all.png") + FIX


def test_nothing_to_be_read_is_refused(photos, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"x")
    assert refusal(bad).startswith(
        f"detect predict('{bad}'): no picture can be read\n  got: detect predict('{bad}'): an image cannot be read ("
    )
    (tmp_path / "empty").mkdir()
    said = refusal(tmp_path / "empty")
    assert said.startswith(f"detect predict('{tmp_path}/empty'): there is no image in it\n  got: 0 other files\n")


def test_a_set_that_is_damaged_is_refused_in_its_own_words(tmp_path):
    assert refusal(f"coco:{tmp_path}/none").startswith(
        f"load_test('coco:{tmp_path}/none'): the folder must hold one 'annotations/instances_val*.json'"
    )


def test_a_set_of_other_classes_is_refused(tmp_path):
    coco = write_coco(tmp_path / "coco")
    known = detection_loading.load_test(f"coco:{coco}")
    words = ", ".join(known.classes)
    assert refusal(f"coco:{coco}", classes=("disc",), categories=(1,)) == (
        f"detect predict('coco:{coco}'): the set has other classes than the detector, or numbers them otherwise\n"
        f"  got: {words}; the detector disc\n"
        "  fix: name the folder of its images, whose objects are then not looked at"
    )
    numbers = tuple(number + 1 for number in known.categories)
    assert refusal(f"coco:{coco}", categories=numbers).startswith(f"detect predict('coco:{coco}'): the set has other")
