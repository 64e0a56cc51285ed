"""The page of what a detector finds: boxes where they are, as many as fit, and nothing that a name could smuggle in."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_detections import KINDS, found, large_detected, made_detected, sight
from PIL import Image

from whatwhere.detect.detections import Detections
from whatwhere.detect.drawing import colour
from whatwhere.errors import RunError
from whatwhere.explain.detected import BoxedPicture
from whatwhere.report.detected import page
from whatwhere.report.detecting import write_detected
from whatwhere.report.templating import digest

EVIL = "<img src=x onerror=alert(1)></script><b>'\"&amp;"


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="detected">(.*?)</script>', text, re.DOTALL)[1])


def lists(text: str, kind: str) -> list[str]:
    return re.findall(rf'<ul class="{kind}".*?</ul>', text, re.DOTALL)


def with_boxes(*rows, height=100, width=200):
    """One picture with boxes of label 1, each of corners and a score."""
    boxes, scores = (torch.tensor(part) for part in zip(*rows, strict=True))
    picture = BoxedPicture("one.jpg", torch.zeros(3, height, width, dtype=torch.uint8))
    one = replace(sight(0), picture=picture, found=Detections(boxes, torch.ones(len(rows), dtype=torch.int64), scores))
    return page(made_detected(sights=[one]))


def test_many_pictures_with_a_hundred_boxes_each_shrink_until_they_are_below_8_mb():
    text = page(large_detected())
    assert text.count("<article") == 60
    assert 4_000_000 < len(text.encode()) <= 8_000_000
    assert page(large_detected(2)).count('width="640"') > text.count('width="640"'), "few pictures stay large"


def test_more_than_a_hundred_pictures_and_boxes_are_left_out():
    text = page(made_detected(sights=[sight(0, side=32, boxes=150), *[sight(0, side=32)] * 104]))
    assert text.count("<article") == 100
    assert lists(text, "found")[0].count("<li") == 100
    assert "<dt>pictures</dt><dd>50</dd>" in text
    assert "<dt>shown</dt><dd>100</dd>" in text


def test_a_box_is_where_it_is_in_percent_of_the_picture():
    (drawn,) = lists(with_boxes(([20.0, 30.0, 120.0, 90.0], 0.75)), "found")
    assert "left:10.00%;top:30.00%;width:50.00%;height:60.00%;z-index:1" in drawn
    assert 'class="k1" data-score="0.7500"><b>bicycle 0.75</b>' in drawn


def test_words_go_where_there_is_room():
    rows = (([0.0, 0.0, 50.0, 50.0], 0.9), ([150.0, 50.0, 250.0, 90.0], 0.8), ([150.0, -9.0, 199.0, 90.0], 0.7))
    (drawn,) = lists(with_boxes(*rows), "found")
    assert re.findall(r'class="(k1[^"]*)"', drawn) == ["k1 in", "k1 end", "k1 in end"]
    assert "left:75.00%;top:50.00%;width:25.00%" in drawn, "a box ends where the picture does"


def test_boxes_below_a_score_of_0_3_are_hidden_at_first_and_those_below_0_05_are_not_there():
    rows = [([10.0, 10.0, 50.0, 50.0], score) for score in (0.9, 0.3, 0.29, 0.05, 0.04)]
    text = with_boxes(*rows)
    (drawn,) = lists(text, "found")
    assert re.findall(r'data-score="([\d.]+)"( hidden)?', drawn) == [
        ("0.9000", ""), ("0.3000", ""), ("0.2900", " hidden"), ("0.0500", " hidden"),
    ]  # fmt: skip
    assert '<span class="shown">2</span> of 4 boxes' in text


def test_truth_is_there_where_it_is_known():
    text = page(made_detected(sights=[sight(0), sight(1), sight(2, known=False)]))
    (known,) = lists(text, "true")
    assert re.findall("<b>(.*?)</b>", known) == ["person", "potted plant, crowd"]
    assert re.findall(r"of 11 boxes(.*?)</p>", text) == ["; truly 2 objects", "; truly 0 objects", ""]


def test_classes_have_the_colours_of_the_drawn_pictures():
    text = page(made_detected())
    for label in range(len(KINDS)):
        assert f".k{label}{{--k:rgb{colour(label)}}}" in text


def test_the_picture_is_the_picture():
    one = sight(1, side=900)
    text = page(made_detected(sights=[one]))
    (jpeg,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]*)" alt="photo 1.jpg"', text)
    image = Image.open(io.BytesIO(base64.b64decode(jpeg)))
    assert image.size == (640, 320)
    whole = Image.fromarray(one.picture.pixels.permute(1, 2, 0).numpy()).resize((640, 320))
    assert np.abs(np.asarray(image, dtype=float) - np.asarray(whole, dtype=float)).mean() < 8


def test_maps_keep_their_values_and_gates_without_maps_are_only_told_of():
    detected = made_detected()
    data = data_of(page(detected))
    assert [site["name"] for site in data["sites"]] == ["backbone.layer1", "backbone.layer2"]
    for shown, maps in zip(detected.sights, data["pictures"], strict=True):
        for values, packed in zip(shown.maps.values(), maps, strict=True):
            steps = np.frombuffer(base64.b64decode(packed["data"]), np.uint8).reshape(packed["h"], packed["w"])
            back = packed["low"] + steps / 255 * (packed["high"] - packed["low"])
            assert np.abs(back - values.numpy()).max() < 0.002
    text = page(detected)
    assert "<li>no map is shown of roi_heads.gate: reads regions, not the picture</li>" in text
    assert text.split('id="diagnoses"')[1].count('<th scope="row"') == 3


def test_a_map_that_a_picture_lacks():
    bare = replace(sight(0), maps={})
    assert data_of(page(made_detected(sights=[bare, sight(1)])))["pictures"][0] == [None, None]


def test_tables_and_scores():
    text = page(made_detected())
    figures, scores = text.split('id="figures"')[1].split('id="scores"')[:2]
    assert re.findall(r'<div>(.*?)</div></th>\s*<td data-v="(.*?)" class="num">(.*?)</td>', figures) == [
        ("AP", "0.28714", "0.287"), ("AP small", "", "–"), ("images", "50", "50"), ("IoU", "", "0.50:0.95"),
    ]  # fmt: skip
    assert re.findall(r'data-show="(\w+)"', scores) == ["pointing", "energy", "iou"]
    assert "0.400 [0.152, 0.648]" in scores
    assert "the middle, always" in scores


def test_without_pictures_gates_scores_and_tables_there_is_still_a_page():
    text = page(made_detected(sights=[], gates=(), scores=(), tables={}))
    assert "<h1>What fasterrcnn with cbam finds</h1>" in text
    assert "No picture was kept for showing." in text
    assert not re.search('id="(figures|scores|diagnoses)"', text)
    nothing = replace(sight(0), found=found(0, 0, 160, 160))
    assert '<span class="shown">0</span> of 0 boxes' in page(made_detected(sights=[nothing]))


def test_markup_in_names_stays_text():
    classes = tuple(f"{name}{EVIL}" for name in KINDS)
    shown = [sight(0, name=f"{{}}{EVIL}\udcff")]
    gates = (replace(made_detected().gates[0], site=EVIL),)
    shown = [replace(shown[0], maps={EVIL: torch.rand(3, 3)})]
    changes = dict(name=EVIL, classes=classes, source=EVIL, sights=shown, gates=gates, tables={EVIL: [(EVIL, EVIL)]})
    text = page(made_detected(problems=(EVIL,), **changes))
    assert "<img src=x" not in text
    assert text.count("</script>") == 2
    assert text.encode("utf-8")
    assert data_of(text)["sites"][0]["name"] == EVIL


def test_only_the_pages_own_script_may_run_and_nothing_may_be_loaded():
    text = page(made_detected(1))
    script = text.rsplit("<script>", 1)[1].split("</script>")[0]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest(script)}'"
    )
    assert "innerHTML" not in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)


def test_the_page_and_its_numbers_are_written(tmp_path):
    files = write_detected(made_detected(2), tmp_path / "new" / "found.html")
    assert files == [tmp_path / "new" / "found.html", tmp_path / "new" / "found.json"]
    assert files[0].read_text(encoding="utf-8") == page(made_detected(2))
    numbers = json.loads(files[1].read_text(encoding="utf-8"))
    assert numbers["tables"] == {"COCO": {"AP": 0.28714, "AP small": None, "images": 50, "IoU": "0.50:0.95"}}
    assert numbers["scores"][0]["moments"]["n"] == 3
    assert [gate["site"] for gate in numbers["gates"]] == ["backbone.layer1", "backbone.layer2", "roi_heads.gate"]
    first, second = numbers["shown"]
    assert len(first["found"]) == 12
    assert first["found"][0].keys() == {"class", "score", "box"}
    assert first["truth"][1] == {"class": "potted plant", "box": [0, 0, 9, 9], "difficult": False, "crowd": True}
    assert second["truth"] == []


def test_a_place_that_takes_no_page(tmp_path):
    with pytest.raises(RunError) as caught:
        write_detected(made_detected(1), tmp_path)
    fix = tmp_path / "detected.html"
    assert str(caught.value) == f"detect(out='{tmp_path}'): this is a folder\n  fix: --out {fix}"
    with pytest.raises(RunError) as caught:
        write_detected(made_detected(1), tmp_path / "found.json")
    assert str(caught.value) == (
        f"detect(out='{tmp_path}/found.json'): a page's name ends in .html\n  fix: --out {tmp_path}/found.html"
    )
