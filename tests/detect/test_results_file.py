"""Results files: what is written is read again, and what is none is refused."""

import json
import os

import pytest
import torch
from detect.made_found import detections, random_found
from support.detection_parts import made_objects, made_part

from whatwhere.detect.coco_scores import coco_scores
from whatwhere.detect.results_file import read_results, write_results
from whatwhere.errors import DataError, RunError

PART = made_part([made_objects([], [])] * 3, ids=[7, "000030", 9])
CATEGORIES = (1, 90)
FIX = "\n  fix: name the results of these very images, as COCO's results files have them"


def test_as_published(tmp_path):
    found = [
        detections([[1.234, 2, 11.5, 4.006]], [1], [0.123456]),
        detections([], [], []),
        detections([[0, 0, 1, 1], [2, 2, 3, 3]], [0, 1], [1, 0]),
    ]
    write_results(tmp_path / "found.json", PART.ids, found, CATEGORIES)
    assert json.loads((tmp_path / "found.json").read_text()) == [
        {"image_id": 7, "category_id": 90, "bbox": [1.23, 2.0, 10.27, 2.01], "score": 0.12346},
        {"image_id": 9, "category_id": 1, "bbox": [0.0, 0.0, 1.0, 1.0], "score": 1.0},
        {"image_id": 9, "category_id": 90, "bbox": [2.0, 2.0, 1.0, 1.0], "score": 0.0},
    ]
    assert os.listdir(tmp_path) == ["found.json"]
    assert found[0].boxes.tolist() == torch.tensor([[1.234, 2, 11.5, 4.006]]).tolist()


def test_written_and_read_again(tmp_path):
    part, found = random_found(0, 20, 3)
    write_results(tmp_path / "found.json", part.ids, found, (5, 3, 11))
    again = read_results(tmp_path / "found.json", part, (5, 3, 11))
    assert len(again) == len(found)
    for before, after in zip(found, again, strict=True):
        surest = before.scores.argsort(descending=True, stable=True)
        assert torch.equal(after.labels, before.labels[surest])
        torch.testing.assert_close(after.scores, before.scores[surest], rtol=0, atol=1e-5)
        torch.testing.assert_close(after.boxes, before.boxes[surest], rtol=0, atol=0.0151)
        assert (after.boxes.dtype, after.labels.dtype, after.scores.dtype) == (
            torch.float32,
            torch.int64,
            torch.float32,
        )
    names = ["a", "b", "c"]
    assert coco_scores(part, again, names).ap == pytest.approx(coco_scores(part, found, names).ap, abs=5e-3)


def test_pycocotools_reads_it(tmp_path):
    coco = pytest.importorskip("pycocotools.coco").COCO()
    part, found = random_found(1, 6, 2)
    write_results(tmp_path / "found.json", part.ids, found, (1, 2))
    coco.dataset = {"images": [{"id": one} for one in part.ids], "categories": [{"id": 1}, {"id": 2}]}
    coco.createIndex()
    assert len(coco.loadRes(str(tmp_path / "found.json")).anns) == sum(map(len, found))


def test_images_without_detections_are_empty_and_the_surest_comes_first(tmp_path):
    file = tmp_path / "found.json"
    entry = {"image_id": "000030", "category_id": 90, "bbox": [1, 2, 3, 4], "score": 0.25}
    file.write_text(json.dumps([entry, {**entry, "score": 1, "category_id": 1, "more": "is let be"}]))
    first, second, third = read_results(file, PART, CATEGORIES)
    assert (len(first), len(third), first.boxes.shape) == (0, 0, (0, 4))
    assert second.scores.tolist() == [1.0, 0.25]
    assert second.labels.tolist() == [0, 1]
    assert second.boxes.tolist() == [[1, 2, 4, 6]] * 2


GOOD = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}
NUMBERS = "bbox is x, y, width and height, four finite numbers"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 8}, "an image is one of the part\n  got: entry 1: image_id 8"),
        (
            {"image_id": "00030"},
            "an image is one of the part\n  got: entry 1: image_id '00030'\n  closest: '000030'",
        ),
        ({"image_id": True}, "an image is one of the part\n  got: entry 1: image_id True"),
        ({"image_id": [7]}, "an image is one of the part\n  got: entry 1: image_id [7]\n  closest: '7'"),
        ({"category_id": 2}, "a category is one of 1, 90\n  got: entry 1: category_id 2"),
        ({"category_id": True}, "a category is one of 1, 90\n  got: entry 1: category_id True"),
        ({"category_id": None}, "a category is one of 1, 90\n  got: entry 1: category_id None"),
        ({"bbox": [0, 0, 1]}, f"{NUMBERS}\n  got: entry 1: bbox [0, 0, 1]"),
        ({"bbox": "0 0 1 1"}, f"{NUMBERS}\n  got: entry 1: bbox 0 0 1 1"),
        ({"bbox": [0, 0, 1, "1"]}, f"{NUMBERS}\n  got: entry 1: bbox [0, 0, 1, '1']"),
        ({"bbox": [0, float("nan"), 1, 1]}, f"{NUMBERS}\n  got: entry 1: bbox [0, nan, 1, 1]"),
        ({"bbox": [0, 0, 1e999, 1]}, f"{NUMBERS}\n  got: entry 1: bbox [0, 0, inf, 1]"),
        ({"bbox": [0, 0, 1, 3e38]}, f"{NUMBERS}\n  got: entry 1: bbox [0, 0, 1, 3e+38]"),
        ({"bbox": [0, 0, 1, 10**400]}, f"{NUMBERS}\n  got: entry 1: bbox [0, 0, 1, 1{'0' * 69}"),
        ({"bbox": [5, 5, 1, -1]}, "width and height are not negative\n  got: entry 1: bbox [5, 5, 1, -1]"),
        ({"score": 1.5}, "a score is a number from 0 to 1\n  got: entry 1: score 1.5"),
        ({"score": float("nan")}, "a score is a number from 0 to 1\n  got: entry 1: score nan"),
        ({"score": "0.5"}, "a score is a number from 0 to 1\n  got: entry 1: score '0.5'"),
    ],
)
def test_an_entry_that_is_none(tmp_path, change, message):
    file = tmp_path / "found.json"
    file.write_text(json.dumps([GOOD, {**GOOD, **change}]))
    with pytest.raises(DataError) as caught:
        read_results(file, PART, CATEGORIES)
    assert str(caught.value) == f"read_results({str(file)!r}): {message}{FIX}"


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "score"])
def test_an_entry_without_a_key(tmp_path, key):
    file = tmp_path / "found.json"
    entry = {name: value for name, value in GOOD.items() if name != key}
    file.write_text(json.dumps([entry]))
    with pytest.raises(DataError) as caught:
        read_results(file, PART, CATEGORIES)
    assert str(caught.value) == (
        f"read_results({str(file)!r}): an entry has image_id, category_id, bbox, score\n"
        f"  got: entry 0: no {key} in {entry}{FIX}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[{"image_id": 7, "bbox": [0, ',
            "it is no JSON, or is cut off\n  got: Expecting value: line 1 column 30 (char 29)\n  fix: write it anew",
        ),
        ("[" * 100_000, None),
        ("\xff\xfe", None),
        ('{"images": []}', f"a results file is a list\n  got: dict{FIX}"),
        ("[]", f"it has no detection, so that nothing can be scored\n  got: []{FIX}"),
        ("[7]", f"an entry has image_id, category_id, bbox, score\n  got: entry 0: no image_id in 7{FIX}"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, message):
    file = tmp_path / "found.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_results(file, PART, CATEGORIES)
    said = str(caught.value)
    if message is None:
        assert said.startswith(f"read_results({str(file)!r}): it is no JSON, or is cut off\n  got: ")
    else:
        assert said == f"read_results({str(file)!r}): {message}"


def test_a_huge_file_is_not_read(tmp_path):
    file = tmp_path / "found.json"
    file.touch()
    os.truncate(file, 2**30 + 1)
    with pytest.raises(DataError) as caught:
        read_results(file, PART, CATEGORIES)
    assert str(caught.value) == (
        f"read_results({str(file)!r}): a results file has 1 GiB at most\n"
        "  got: 1073741825 bytes\n"
        "  fix: keep the hundred surest detections of each image"
    )


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    file = tmp_path / "found.json"
    file.write_text("old")
    with pytest.raises(RunError) as caught:
        write_results(file, PART.ids, [detections([], [], [])], CATEGORIES)
    assert str(caught.value) == (
        "write_results(path, ids, found): one entry for each image, in the part's order\n"
        "  got: 3 images, 1 entries\n"
        "  fix: give empty Detections for an image in which nothing was found"
    )
    assert file.read_text() == "old"
