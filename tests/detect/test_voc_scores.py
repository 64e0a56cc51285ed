"""VOC's average precision: by hand, by the published procedure written out plainly, and what is refused."""

import numpy as np
import pytest
import torch
from detect.made_found import detections, random_found
from support.detection_parts import made_objects, made_part

from whatwhere.detect.voc_scores import VocClass, average_precision, voc_scores
from whatwhere.errors import DataError, RunError

A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]
OFF = [0, 50, 10, 60]
EXACT = 1e-12


def scored(known, found, classes=("a",), **options):
    return voc_scores(made_part(known), found, classes, **options)


def by_the_publishers(part, found, label, iou):
    """The loop of the devkit, with its inclusive pixels from 1, for one class; (11 points, all points)."""
    objects, positives = {}, 0
    for image in range(len(part)):
        one = part.objects(image)
        mine = one.labels == label
        boxes = one.boxes[mine].double().numpy() + np.array([1, 1, 0, 0])
        difficult = (one.difficult | one.crowd)[mine].tolist()
        objects[image] = (boxes, difficult, [False] * len(boxes))
        positives += difficult.count(False)
    rows = []
    for image, one in enumerate(found):
        for box, name, score in zip(one.boxes.double().numpy(), one.labels.tolist(), one.scores.tolist(), strict=True):
            if name == label:
                rows.append((score, image, box + np.array([1, 1, 0, 0])))
    rows.sort(key=lambda row: -row[0])
    right, wrong = [], []
    for _, image, box in rows:
        boxes, difficult, taken = objects[image]
        most, best = -np.inf, -1
        for number, other in enumerate(boxes):
            wide = min(box[2], other[2]) - max(box[0], other[0]) + 1
            high = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if wide > 0 and high > 0:
                areas = [(one[2] - one[0] + 1) * (one[3] - one[1] + 1) for one in (box, other)]
                overlap = wide * high / (sum(areas) - wide * high)
                if overlap > most:
                    most, best = overlap, number
        hit = most >= iou and not difficult[best] and not taken[best]
        left_out = most >= iou and difficult[best]
        right.append(hit)
        wrong.append(not hit and not left_out)
        if hit:
            taken[best] = True
    tp, fp = np.cumsum(right), np.cumsum(wrong)
    recall, precision = tp / positives, tp / np.maximum(tp + fp, 1)
    eleven = [max(precision[recall >= tenth / 10 - 1e-9], default=0.0) for tenth in range(11)]
    recalls, heights = np.array([0, *recall, 1]), np.array([0, *precision, 0])
    for place in range(len(heights) - 2, -1, -1):
        heights[place] = max(heights[place], heights[place + 1])
    steps = np.flatnonzero(recalls[1:] != recalls[:-1]) + 1
    return np.mean(eleven), np.sum((recalls[steps] - recalls[steps - 1]) * heights[steps])


@pytest.mark.parametrize(("seed", "iou"), [(0, 0.5), (1, 0.5), (2, 0.75), (3, 0.3)])
def test_the_published_procedure(seed, iou):
    part, found = random_found(seed, 40, 3)
    chance = torch.Generator().manual_seed(seed)
    known = [
        made_objects(one.boxes, one.labels, difficult=torch.rand(len(one), generator=chance) < 0.2, crowd=one.crowd)
        for one in part.known
    ]
    part = made_part(known)
    scores = voc_scores(part, found, ["a", "b", "c"], iou=iou)
    for label, one in enumerate(scores.per_class.values()):
        assert (one.ap11, one.ap) == pytest.approx(by_the_publishers(part, found, label, iou), abs=EXACT)
    assert 0.05 < scores.ap < 0.9
    assert scores.ap == pytest.approx(np.mean([one.ap for one in scores.per_class.values()]), abs=EXACT)
    assert scores.ap11 == pytest.approx(np.mean([one.ap11 for one in scores.per_class.values()]), abs=EXACT)


def test_a_known_list():
    # 5 objects; surest first: hit, mistake, hit, hit, mistake, mistake, hit
    # precision    1/1  1/2  2/3  3/4  3/5  3/6  4/7;  recall 1/5 1/5 2/5 3/5 3/5 3/5 4/5
    # highest at or after: 1, 3/4, 3/4, 3/4, 3/5, 4/7, 4/7
    # eleven points: 0, .1, .2 -> 1; .3, .4, .5, .6 -> 3/4; .7, .8 -> 4/7; .9, 1 -> 0
    hits = np.array([True, False, True, True, False, False, True])
    ap11, ap = average_precision(hits, 5)
    assert ap11 == pytest.approx((3 * 1 + 4 * 3 / 4 + 2 * 4 / 7) / 11, abs=EXACT)
    # all points: recall rises by 1/5 at 1, 3/4, 3/4, 4/7
    assert ap == pytest.approx((1 + 3 / 4 + 3 / 4 + 4 / 7) / 5, abs=EXACT)


@pytest.mark.parametrize("tenth", range(1, 11))
def test_a_recall_of_just_so_many_tenths_reaches_its_point(tenth):
    # the first hits are right, no other object is found: precision 1 up to that recall, the point itself included
    ap11, ap = average_precision(np.ones(tenth, dtype=bool), 10)
    assert ap11 == pytest.approx((tenth + 1) / 11, abs=EXACT)
    assert ap == pytest.approx(tenth / 10, abs=EXACT)


def test_no_detection():
    assert average_precision(np.zeros(0, dtype=bool), 3) == (0.0, 0.0)
    scores = scored([made_objects([A], [0])], [detections([], [], [])])
    assert (scores.ap11, scores.ap) == (0.0, 0.0)


def test_by_hand_with_two_images():
    # surest first: A in the first image (hit), OFF (mistake), B in the second (hit); C is never found
    known = [made_objects([A], [0]), made_objects([B, C], [0, 0])]
    found = [detections([A, OFF], [0, 0], [0.9, 0.8]), detections([B], [0], [0.7])]
    scores = scored(known, found)
    # precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3: points 0 to .3 -> 1, .4 to .6 -> 2/3, the rest 0
    assert scores.ap11 == pytest.approx((4 * 1 + 3 * 2 / 3) / 11, abs=EXACT)
    assert scores.ap == pytest.approx((1 + 2 / 3) / 3, abs=EXACT)


def test_an_object_found_twice_is_a_hit_and_a_mistake():
    # the surer one is the hit, although the other overlaps more; then B: precision 1, 1/2, 2/3
    known = [made_objects([A, B], [0, 0])]
    found = [detections([A, [0, 0, 10, 9], B], [0, 0, 0], [0.8, 0.9, 0.7])]
    assert scored(known, found).ap == pytest.approx((1 + 2 / 3) / 2, abs=EXACT)


def test_the_object_overlapped_most_is_meant_even_when_it_is_taken():
    # the second box overlaps the first object by 9/11 and the other by 7/13, which is enough: still a mistake
    known = [made_objects([[0, 0, 10, 10], [4, 0, 14, 10]], [0, 0])]
    found = [detections([[0, 0, 10, 10], [1, 0, 11, 10]], [0, 0], [0.9, 0.8])]
    assert scored(known, found).ap == pytest.approx(1 / 2, abs=EXACT)


def test_difficult_objects_are_neither_missed_nor_mistakes():
    # A alone counts; B is difficult: found twice, of no account; OFF, surest of all, is a mistake: precision 1/2
    known = [made_objects([A, B], [0, 0], difficult=[False, True])]
    found = [detections([OFF, B, B, A], [0, 0, 0, 0], [0.9, 0.8, 0.7, 0.6])]
    scores = scored(known, found)
    assert scores.per_class["a"] == VocClass(1, 0.5, 0.5)


def test_an_overlap_of_a_half_is_a_hit_and_less_is_none():
    # 10 x 5 of 10 x 10 is 1/2; boxes of inclusive pixels 1 to 10 are 10 wide, as ours from 0 to 10 are
    known = [made_objects([A], [0])]
    assert scored(known, [detections([[0, 0, 10, 5]], [0], [1])]).ap == 1.0
    assert scored(known, [detections([[0, 0, 10, 4.99]], [0], [1])]).ap == 0.0
    assert scored(known, [detections([[0, 0, 10, 4.99]], [0], [1])], iou=0.4).ap == 1.0


def test_equal_scores_keep_their_order():
    # mistake before hit gives precision 1/2, hit before mistake 1; over images the first comes first
    known = [made_objects([A], [0])]
    assert scored(known, [detections([OFF, A], [0, 0], [0.5, 0.5])]).ap == 0.5
    assert scored(known, [detections([A, OFF], [0, 0], [0.5, 0.5])]).ap == 1.0
    empty = made_objects([], [])
    found = detections([OFF], [0], [0.5]), detections([A], [0], [0.5])
    assert scored([empty, *known], list(found)).ap == 0.5
    assert scored([*known, empty], list(reversed(found))).ap == 1.0


def test_another_class_is_another_matter_and_a_class_without_objects_is_left_out():
    known = [made_objects([A, B], [0, 1])]
    found = [detections([A, B, C], [0, 0, 2], [0.9, 0.8, 0.7])]
    scores = scored(known, found, ("a", "b", "c"))
    assert scores.per_class == {"a": VocClass(1, 1.0, 1.0), "b": VocClass(1, 0.0, 0.0), "c": VocClass(0, None, None)}
    assert (scores.ap11, scores.ap) == (0.5, 0.5)


def test_a_detection_without_area_is_a_mistake():
    assert scored([made_objects([A], [0])], [detections([[5, 5, 5, 5]], [0], [1])]).ap == 0.0


def test_all_objects_difficult():
    with pytest.raises(DataError) as caught:
        scored([made_objects([A, B], [0, 0], difficult=[True, True])], [detections([], [], [])])
    assert str(caught.value) == (
        "voc_scores(truth, found): there is no object to find\n"
        "  got: 1 images, 2 objects that are left out of the scores\n"
        "  fix: score on a part with objects"
    )


def test_images_without_an_entry():
    with pytest.raises(RunError) as caught:
        scored([made_objects([A], [0])] * 2, [detections([], [], [])])
    assert str(caught.value) == (
        "voc_scores(truth, found): one entry for each image, in the part's order\n"
        "  got: 2 images, 1 entries\n"
        "  fix: give empty Detections for an image in which nothing was found"
    )
