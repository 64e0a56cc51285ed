"""Precision over recall, and its drawing."""

import io

import torch
from detect.made_found import detections, random_found
from PIL import Image
from support.detection_parts import made_objects, made_part

from whatwhere.detect.coco_scores import coco_scores
from whatwhere.detect.curves import draw


def test_by_hand():
    # two objects: the surest detection overlaps the first by 0.6, the next misses, the third is the second object
    part = made_part([made_objects([[0, 0, 10, 10], [50, 50, 60, 60]], [0, 0])])
    found = [detections([[0, 0, 10, 6], [80, 80, 90, 90], [50, 50, 60, 60]], [0, 0, 0], [0.9, 0.8, 0.7])]
    curves = coco_scores(part, found, ["a", "b"]).curves
    assert curves.classes == ("a", "b")
    recall = torch.arange(101)
    at_half = torch.where(recall <= 50, 1.0, 2 / 3)
    torch.testing.assert_close(curves.at[0.5][0], at_half)
    torch.testing.assert_close(curves.at[0.75][0], torch.where(recall <= 50, 1 / 3, 0.0))
    assert curves.at[0.5].dtype == torch.float32
    assert curves.at[0.5][1].isnan().all()
    torch.testing.assert_close(curves.mean(0.5), at_half)


def test_the_mean_is_over_classes_with_objects_and_its_mean_is_the_average_precision():
    part, found = random_found(3, 12, 80)
    scores = coco_scores(part, found, [str(label) for label in range(80)])
    assert abs(float(scores.curves.mean(0.5).double().mean()) - scores.ap50) < 1e-6
    assert abs(float(scores.curves.mean(0.75).double().mean()) - scores.ap75) < 1e-6


def test_a_drawing_is_the_same_every_time_and_leaves_matplotlib_alone():
    import matplotlib
    from matplotlib import pyplot

    part, found = random_found(0, 10, 3)
    curves = coco_scores(part, found, ["a", "b", "c"]).curves
    figures = pyplot.get_fignums()
    with matplotlib.rc_context({"font.size": 30}):
        png = draw(curves)
        assert matplotlib.rcParams["font.size"] == 30
    assert draw(curves) == png
    assert pyplot.get_fignums() == figures
    image = Image.open(io.BytesIO(png)).convert("RGB")
    assert image.size == (840, 680)
    colours = {pixel for _, pixel in image.getcolors(2**20)}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours
