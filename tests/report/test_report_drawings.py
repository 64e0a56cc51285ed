"""Axes, curves, fronts: what is drawn is where its number says."""

import json
import re

import pytest
from made_runs import comparison, course, made_run

from whatwhere.report.curves import curves
from whatwhere.report.forest import forest
from whatwhere.report.reading import read
from whatwhere.report.scales import axis
from whatwhere.report.scatter import front, scatters


@pytest.mark.parametrize(
    ("values", "options", "texts"),
    [
        ([0, 10], {}, ["0", "2", "4", "6", "8", "10"]),
        ([-0.6, 0.5], {}, ["−0.6", "−0.4", "−0.2", "0.0", "0.2", "0.4"]),
        ([275572, 277072], {}, ["276.0k", "276.5k", "277.0k"]),
        ([1.2e9, 3.4e9], {}, ["1.5G", "2.0G", "2.5G", "3.0G"]),
        ([1, 5], {"whole": True}, ["1", "2", "3", "4", "5"]),
        ([1, 1], {"whole": True}, ["1"]),
        ([0.5, 0.5], {}, ["0.48", "0.49", "0.50", "0.51", "0.52"]),
        ([0, 0], {"ticks": 3}, ["−1", "0", "1"]),
    ],
)
def test_ticks_are_round(values, options, texts):
    found = axis("", values, **options)
    assert [text for _, text in found.ticks] == texts
    assert all(0 <= share <= 100 for share, _ in found.ticks)


def test_shares():
    found = axis("", [0, 10], margin=0.1)
    assert [found.share(value) for value in (-1, 0, 5, 11, 17)] == [0, 8.33, 50, 100, 150]


@pytest.mark.parametrize(
    ("places", "best"),
    [
        ([(1, 1)], [True]),
        ([(1, 1), (2, 2), (3, 1.5)], [True, True, False]),
        ([(1, 2), (2, 2)], [True, False]),
        ([(1, 1), (1, 2)], [False, True]),
        ([(1, 1), (1, 1)], [True, True]),
        ([(3, 3), (2, 1), (1, 2)], [True, False, True]),
    ],
)
def test_the_front(places, best):
    assert front(places) == best


def points(path: str) -> list[tuple[float, float]]:
    """The points of a path that was written in steps."""
    found = []
    for kind, x, y in re.findall(r"([Ml])(-?[\d.]+) ?(-?\d+)", path):
        base = (0, 0) if kind == "M" else found[-1]
        found.append((base[0] + float(x), base[1] + float(y)))
    return found


def test_curves_go_through_their_points(tmp_path):
    made_run(tmp_path, comparison(seeds=2, epochs=7))
    drawings = curves(read(tmp_path).runs[0])
    assert [drawing.key for drawing in drawings] == [
        *("validation_accuracy", "validation_loss", "train_accuracy", "train_loss"),
    ]
    drawing = drawings[0]
    assert (drawing.x.low, drawing.x.high, drawing.width, drawing.first) == (1, 7, 6, 1)
    line = drawing.lines[3]
    for seed, path in line.seeds:
        accuracies = [100 * epoch["validation_accuracy"] for epoch in course(3, seed, 7)]
        assert [x for x, _ in points(path)] == list(range(7))
        heights = [1000 - 10 * drawing.y.share(value) for value in accuracies]
        assert [y for _, y in points(path)] == pytest.approx(heights, abs=1)
    mean = [
        sum(found) / 2
        for found in zip(*(points(path) for _, path in line.seeds), strict=True)
        for found in zip(*found, strict=True)
    ]
    assert [value for point in points(line.mean) for value in point] == pytest.approx(mean, abs=1)
    both = [course(3, seed, 7)[6]["validation_accuracy"] for seed in (0, 1)]
    assert drawing.values[3][6] == pytest.approx(50 * sum(both), rel=1e-3)
    assert len(points(line.band)) == 14


def test_one_seed_has_no_band_and_one_epoch_is_a_point(tmp_path):
    made_run(tmp_path, comparison(seeds=1, epochs=1))
    (line, *_), drawing = curves(read(tmp_path).runs[0])[0].lines, curves(read(tmp_path).runs[0])[0]
    assert (line.band, line.seeds) == ("", ())
    assert re.fullmatch(r"M0\.5 \d+h0", line.mean)
    assert drawing.width == 1


def test_an_epoch_that_is_missing_is_a_gap(tmp_path):
    asked = made_run(tmp_path, comparison(("none",), seeds=1, epochs=5))
    path = tmp_path / asked.trial("none", 0).name / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:2] + lines[3:]))
    drawing = curves(read(tmp_path).runs[0])[0]
    assert drawing.lines[0].mean.count("M") == 2
    assert drawing.values[0][2] is None


def test_a_loss_that_explodes_does_not_flatten_the_others(tmp_path):
    asked = made_run(tmp_path, comparison(seeds=1, epochs=30))
    path = tmp_path / asked.trial("se", 0).name / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[4]["train_loss"] = 1e30
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawing = next(one for one in curves(read(tmp_path).runs[0]) if one.key == "train_loss")
    assert drawing.cut
    assert drawing.y.high < 10
    assert max(abs(y) for _, y in points(drawing.lines[1].mean)) < 1e6


def test_scatters_show_every_known_cost(tmp_path):
    made_run(tmp_path)
    run = read(tmp_path).runs[0]
    drawings = scatters(run)
    assert [drawing.key for drawing in drawings] == ["parameters", "macs", "bytes_kept", "ms"]
    drawing = drawings[3]  # 0.5, 0.8, 0.7, 0.6 ms, and each arm better than the one before
    assert [point.best for point in drawing.points] == [True, False, False, True]
    none, cbam = drawing.points[0], drawing.points[3]
    assert drawing.front == f"M{none.left:g} {100 - none.bottom:g}H{cbam.left:g}V{100 - cbam.bottom:g}H100"
    assert cbam.words.endswith("%, 0.6 ms, on the Pareto front")
    assert cbam.low < cbam.bottom < cbam.high


def test_the_forest_holds_zero_and_all_intervals(tmp_path):
    made_run(tmp_path)
    found = forest(read(tmp_path).runs[0])
    assert [branch.name for branch in found.branches] == ["se", "bam", "cbam"]
    assert 0 < found.zero < found.branches[0].low < found.branches[0].mean < found.branches[0].high
    assert found.branches[2].high < 100


def test_nothing_is_drawn_of_nothing(tmp_path):
    made_run(tmp_path, finished=0)
    run = read(tmp_path).runs[0]
    assert (curves(run), scatters(run), forest(run)) == ([], [], None)
