"""`reproduce` of tables of detectors: precisions beside the papers', and what a table would take."""

import json
import sys

import pytest

from whatwhere.data import scenes_many
from whatwhere.data.detection import DetectionSplits
from whatwhere.detect import TrainedDetector
from whatwhere.detect.measures import DetectionEpoch
from whatwhere.experiments import comparison, detecting, runner
from whatwhere.experiments.facts import arm_facts
from whatwhere.papers import forecast, grid, recipe, reproduce
from whatwhere.report import report

pytest.importorskip("torchvision")

_COCO = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
_RECALLS = ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


@pytest.fixture
def scored(monkeypatch):
    """Says by whose rule a few scenes are scored, and puts training by table in the place of training."""

    def by(rule):
        def train(model, task, recipe, *, seed, folder, on_epoch, progress, loggers):
            gate = json.loads((folder / "trial.json").read_text())["gate"]
            validation = 0.5 if rule == "voc" else None
            for epoch in range(1, recipe.epochs + 1):
                on_epoch(DetectionEpoch(epoch, 0.1, 3.0, 2.0, 1.0, 0.0, 0.2, 0.4, 0.1, validation, 1.0, 8.0))
            gain = (0.02 + 0.001 * seed if gate == "bam" else 0.0) + 0.01 * seed
            found = {**dict.fromkeys(_COCO, 0.3 + gain), **dict.fromkeys(_RECALLS, 0.4), "ap50": 0.5 + gain}
            if rule == "voc":
                found |= {"voc07": 0.6 + 2 * gain, "voc": 0.65}
            return TrainedDetector(found, {}, 0.5 if rule == "voc" else 0.2, 1, recipe.epochs, 1.0, 8.0)

        parts = [scenes_many.generate_many(count, seed=count, image_size=96) for count in (6, 4, 5)]
        classes = scenes_many.CLASSES
        splits = DetectionSplits("scenes", classes, tuple(range(len(classes))), *parts, scoring=rule)
        monkeypatch.setattr(runner, "train", train)
        monkeypatch.setattr(comparison, "arm_facts", lambda *given, timed: arm_facts(*given, timed=False))
        monkeypatch.setattr(detecting, "load_detection", lambda name, **_: splits)

    return by


@pytest.mark.parametrize(
    ("rule", "key", "measure", "mean", "gain"),
    [("coco", "ap", "AP", 50.5, 2.05), ("voc", "voc07", "VOC07 mAP", 61.0, 4.1)],
)
def test_the_papers_precisions_stand_beside_ours(rule, key, measure, mean, gain, scored, tmp_path):
    scored(rule)
    found = reproduce(recipe("bam/4b")("smoke", seeds=2, epochs=1), tmp_path)
    assert found == json.loads((tmp_path / "bam-4b" / "reproduction.json").read_text())
    assert found["measure"] == key
    bare, gated = found["rows"][1:3]
    assert bare["paper"]["metrics"] == {"map50": "78.9"}
    assert list(bare["ours"]["metrics"]) == ["map50"]
    moments = bare["ours"]["metrics"]["map50"]
    assert moments["mean"] == pytest.approx(mean)
    assert moments["low"] < moments["mean"] < moments["high"]
    assert gated["ours"]["difference"]["mean"] == pytest.approx(gain)
    table = grid(found)
    assert {"paper mAP@.5 %", "ours mAP@.5 %", f"{measure} difference [95 %]"} <= set(table.headers)
    assert f"Differences are in {measure}, to the bare host" in " ".join(table.notes)
    text = report(tmp_path / "bam-4b")[0].read_text()
    said = ("mAP@.5 %, ours", f"{measure} difference", f"{measure} against cost", f"Test {measure} minus that of")
    assert [words for words in said if words not in text] == []
    assert "ccuracy" not in text.partition("<body>")[2].partition("<script>")[0]


def test_all_three_precisions_of_coco(scored, tmp_path):
    scored("coco")
    found = reproduce(recipe("cbam/6")("smoke", seeds=1, epochs=1), tmp_path)
    metrics = found["rows"][0]["ours"]["metrics"]
    assert {name: one["mean"] for name, one in metrics.items()} == pytest.approx({"map50": 50, "map75": 30, "map": 30})


def test_a_forecast_of_detectors_measures_a_step_and_knows_what_is_finished(scored, tmp_path):
    scored("coco")
    asked = recipe("bam/4b")("smoke", seeds=1, epochs=1, limit=6)
    first = forecast(asked, tmp_path)
    assert [(one.arm, one.trials, one.finished, one.images) for one in first] == [
        ("none", 1, 0, 6),
        ("bam@heads", 1, 0, 6),
    ]
    assert all(one.seconds > 0 for one in first)
    assert list(tmp_path.iterdir()) == []
    reproduce(asked, tmp_path)
    assert [(one.finished, one.images, one.seconds) for one in forecast(asked, tmp_path)] == [(1, 0, 0.0)] * 2


@pytest.mark.parametrize(
    ("table", "images", "folder", "known"),
    [
        ("bam/4a", 106_458 * 4, "coco:{}/coco", ((3, 480, 640), 80)),
        ("bam/4b", 14_896 * 250, "voc:{}/VOCdevkit", ((3, 375, 500), 20)),
    ],
)
def test_published_images_are_known_without_them(table, images, folder, known, monkeypatch, tmp_path):
    seen = []

    def seconds(spec, shape, classes):
        seen.append((spec.data, shape, classes))
        return 1.0

    monkeypatch.setattr(sys.modules["whatwhere.papers.forecast"], "seconds_per_image", seconds)
    found = forecast(recipe(table)("paper", seeds=1), tmp_path, root=tmp_path)
    assert {(one.images, one.seconds) for one in found} == {(images, images)}
    assert set(seen) == {(folder.format(tmp_path.resolve()), *known)}
