"""COCO's numbers: those of pycocotools, and what is refused."""

import contextlib
import io
import json
import os
from pathlib import Path

import pytest
import torch
from detect.made_found import detections, random_found
from support.detection_parts import made_objects, made_part

from whatwhere.detect.coco_scores import ClassScores, coco_scores
from whatwhere.errors import DataError, RunError

NUMBERS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
EQUAL = 1e-9  # beside pycocotools; 1e-15 was measured
DATA = Path(os.environ.get("WHATWHERE_DATA", "~/.cache/whatwhere")).expanduser()
COCO_SAMPLE = DATA / "coco" / "annotations" / "instances_val2017.json"


def widths(boxes):
    wide = boxes.double()
    return torch.cat([wide[:, :2], wide[:, 2:] - wide[:, :2]], 1).tolist()


def by_pycocotools(part, found, classes):
    """Its twelve numbers, and AP of each class; -1 where undefined."""
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    objects, results = [], []
    for index, one in enumerate(found):
        known = part.objects(index)
        columns = (known.labels.tolist(), widths(known.boxes), known.areas.tolist(), known.crowd.int().tolist())
        for label, box, area, crowd in zip(*columns, strict=True):
            entry = {"image_id": index + 1, "category_id": label + 1, "bbox": box, "area": area, "iscrowd": crowd}
            objects.append({"id": len(objects) + 1, **entry})
        for label, box, score in zip(one.labels.tolist(), widths(one.boxes), one.scores.tolist(), strict=True):
            results.append({"image_id": index + 1, "category_id": label + 1, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": index + 1} for index in range(len(found))],
            "categories": [{"id": label + 1} for label in range(classes)],
            "annotations": objects,
        }
        truth.createIndex()
        scorer = COCOeval(truth, truth.loadRes(results), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    of_class = scorer.eval["precision"][:, :, :, 0, 2].transpose(2, 0, 1).reshape(classes, -1)
    return scorer.stats.tolist(), of_class.mean(1).tolist()


def numbers(scores):
    return [-1.0 if (value := getattr(scores, name)) is None else value for name in NUMBERS]


def names(classes):
    return [f"class {label}" for label in range(classes)]


@pytest.mark.parametrize(
    ("seed", "images", "classes"), [(0, 40, 3), (1, 40, 1), (2, 60, 20), (3, 12, 80), (4, 150, 2), (5, 3, 2)]
)
def test_the_numbers_of_pycocotools(seed, images, classes):
    part, found = random_found(seed, images, classes)
    expected, of_class = by_pycocotools(part, found, classes)
    scores = coco_scores(part, found, names(classes))
    assert numbers(scores) == pytest.approx(expected, abs=EQUAL)
    ours = [-1.0 if one.ap is None else one.ap for one in scores.per_class.values()]
    assert ours == pytest.approx(of_class, abs=EQUAL)


def test_more_than_a_hundred_detections_of_a_class_in_an_image():
    part, found = random_found(6, 6, 1, most=150)
    assert max(map(len, found)) > 200
    expected, _ = by_pycocotools(part, found, 1)
    assert numbers(coco_scores(part, found, ["one"])) == pytest.approx(expected, abs=EQUAL)


@pytest.mark.skipif(not COCO_SAMPLE.is_file(), reason="COCO's annotations are not there")
def test_real_annotations_and_jittered_boxes():
    content = json.loads(COCO_SAMPLE.read_text())
    labels = {one["id"]: label for label, one in enumerate(content["categories"])}
    chance, known, found = torch.Generator().manual_seed(0), [], []
    for image in content["images"]:
        mine = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        boxes = torch.tensor([one["bbox"] for one in mine]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        kinds = [labels[one["category_id"]] for one in mine]
        crowd = [bool(one["iscrowd"]) for one in mine]
        known.append(made_objects(boxes, kinds, areas=[one["area"] for one in mine], crowd=crowd))
        sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        jittered = boxes + 0.05 * sides * torch.randn(boxes.shape, generator=chance)
        found.append(detections(jittered, kinds, torch.rand(len(mine), generator=chance)))
    part = made_part(known)
    expected, _ = by_pycocotools(part, found, len(labels))
    scores = coco_scores(part, found, names(len(labels)))
    assert numbers(scores) == pytest.approx(expected, abs=EQUAL)
    assert 0.3 < scores.ap < 1


def test_the_order_of_detections_is_of_no_account():
    part, found = random_found(7, 20, 3)
    apart = [detections(one.boxes, one.labels, torch.linspace(0, 1, len(one))) for one in found]
    turned = [detections(one.boxes.flip(0), one.labels.flip(0), one.scores.flip(0)) for one in apart]
    names_ = names(3)
    assert numbers(coco_scores(part, turned, names_)) == numbers(coco_scores(part, apart, names_))


def test_all_found_is_one_and_nothing_found_is_nought():
    part = made_part([made_objects([[0, 0, 10, 10], [20, 20, 120, 140]], [0, 2]), made_objects([], [])])
    whole = [detections(one.boxes, one.labels, torch.ones(len(one))) for one in part.known]
    scores = coco_scores(part, whole, ["a", "b", "c"])
    assert numbers(scores) == [1, 1, 1, 1, -1, 1, 1, 1, 1, 1, -1, 1]
    assert scores.ap_medium is None
    assert scores.per_class == {
        "a": ClassScores(1, 1.0, 1.0),
        "b": ClassScores(0, None, None),
        "c": ClassScores(1, 1.0, 1.0),
    }
    empty = coco_scores(part, [detections([], [], [])] * 2, ["a", "b", "c"])
    assert numbers(empty) == [0, 0, 0, 0, -1, 0, 0, 0, 0, 0, -1, 0]


def test_crowds_are_neither_objects_nor_mistakes():
    part = made_part([made_objects([[0, 0, 10, 10], [50, 50, 150, 150]], [0, 0], crowd=[False, True])])
    in_crowd = [detections([[0, 0, 10, 10], [60, 60, 80, 80]], [0, 0], [0.5, 0.9])]
    scores = coco_scores(part, in_crowd, ["a"])
    assert (scores.ap, scores.per_class["a"].objects) == (1.0, 1)


def test_nothing_is_printed_logged_or_warned_of(capfd, caplog):
    part, found = random_found(8, 5, 2)
    coco_scores(part, found, names(2))
    assert tuple(capfd.readouterr()) == ("", "")
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_truth_and_found_stay_as_they_are():
    part, found = random_found(9, 8, 2)
    before = [one.boxes.clone() for one in (*part.known, *found)]
    coco_scores(part, found, names(2))
    assert all(torch.equal(one.boxes, boxes) for one, boxes in zip((*part.known, *found), before, strict=True))


BOX = [0, 0, 10, 10]
PART = made_part([made_objects([BOX], [0]), made_objects([], [])], ids=["left", "right"])
NOTHING = detections([], [], [])
NAN = float("nan")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            [NOTHING],
            "coco_scores(truth, found): one entry for each image, in the part's order\n"
            "  got: 2 images, 1 entries\n"
            "  fix: give empty Detections for an image in which nothing was found",
        ),
        (
            [NOTHING, detections([BOX, [0, NAN, 1, 1]], [0, 0], [1, 0.5])],
            "coco_scores(truth, found): boxes and scores are finite\n"
            "  got: image 'right': box [0.0, nan, 1.0, 1.0], score 0.5\n"
            "  fix: the detector's weights or inputs are not finite either: look there",
        ),
        (
            [detections([BOX], [0], [NAN]), NOTHING],
            "coco_scores(truth, found): boxes and scores are finite\n"
            "  got: image 'left': box [0.0, 0.0, 10.0, 10.0], score nan\n"
            "  fix: the detector's weights or inputs are not finite either: look there",
        ),
        (
            [detections([[5, 0, 4, 10]], [0], [1]), NOTHING],
            "coco_scores(truth, found): a box is x0, y0, x1, y1 with x0 <= x1 and y0 <= y1\n"
            "  got: image 'left': box [5.0, 0.0, 4.0, 10.0]\n"
            "  fix: corners, not a corner and sizes, are wanted",
        ),
        (
            [detections([BOX, BOX], [2, 1], [1, 1]), NOTHING],
            "coco_scores(truth, found): a label is one of 0 to 1, as there are 2 classes\n"
            "  got: image 'left': labels [1, 2]\n"
            "  fix: labels count from 0; the background is none",
        ),
        (
            [detections([BOX], [-1], [1]), NOTHING],
            "coco_scores(truth, found): a label is one of 0 to 1, as there are 2 classes\n"
            "  got: image 'left': labels [-1]\n"
            "  fix: labels count from 0; the background is none",
        ),
    ],
)
def test_what_is_no_detection(found, message):
    with pytest.raises(RunError) as caught:
        coco_scores(PART, found, ["a", "b"])
    assert str(caught.value) == message


def test_a_truth_without_objects():
    crowds = made_part([made_objects([BOX], [0], crowd=[True]), made_objects([], [])])
    with pytest.raises(DataError) as caught:
        coco_scores(crowds, [NOTHING] * 2, ["a"])
    assert str(caught.value) == (
        "coco_scores(truth, found): there is no object to find\n"
        "  got: 2 images, 1 objects that are left out of the scores\n"
        "  fix: score on a part with objects"
    )


def test_an_object_of_no_class():
    part = made_part([made_objects([BOX, BOX], [0, 3])])
    with pytest.raises(DataError) as caught:
        coco_scores(part, [NOTHING], ["a", "b"])
    assert str(caught.value) == (
        "coco_scores(truth, found): an object's label is one of 0 to 1, as there are 2 classes\n"
        "  got: image 1: labels [0, 3]\n"
        "  fix: name the classes of this part"
    )
