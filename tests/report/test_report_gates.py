"""What trials keep about their gates: the advice said once, and the lines over the epochs."""

import json
from itertools import pairwise

import pytest
from made_runs import comparison, history, made_run, write
from test_report_drawings import points

from whatwhere.report.gate_curves import gate_curves
from whatwhere.report.gates import gates
from whatwhere.report.page import page
from whatwhere.report.plain import as_markdown
from whatwhere.report.reading import read
from whatwhere.report.remarks import remarks


def gates_of(folder, arm="se"):
    run = read(folder).runs[0]
    return next((found for found in gates(run) if run.arms[found.arm].name == arm), None)


def trial_of(folder, asked, arm="se", seed=0):
    return folder / asked.trial(arm, seed).name


def advised(*seeds):
    """What is made of one remark a site and seed; "" is none."""
    return remarks(
        [[{"site": site, "advice": [remark] * bool(remark)} for site, remark in seed.items()] for seed in seeds]
    )


def test_a_remark_is_said_once_with_its_seeds():
    assert advised({"a": "odd", "b": "odd"}, {"a": "odd", "b": ""}, {"a": "odd"}) == (
        "a (3 of 3 seeds): odd",
        "b (1 of 2 seeds): odd",
    )
    assert advised({"a": "odd", "b": ""}) == ("a (1 of 1 seed): odd",)
    assert advised({"a": "odd", "b": "odd"}) == ("a, b (1 of 1 seed): odd",)


def test_figures_of_like_remarks_become_a_range():
    assert advised({"a": "spread 0.010, 9%"}, {"a": "spread 0.002, 11%"}, {"a": "spread 0.002, 9% of it"}) == (
        "a (2 of 3 seeds): spread 0.002 to 0.010, 9 to 11%",
        "a (1 of 3 seeds): spread 0.002, 9% of it",
    )
    assert advised({"a": "strength -0.01"}, {"a": "strength 1e-05"}) == ("a (2 of 2 seeds): strength -0.01 to 1e-05",)


def test_several_remarks_are_told_one_by_one():
    assert remarks([[{"site": "a", "advice": ["nearly constant: 0.5; could be folded", "switched off"]}]]) == (
        "a (1 of 1 seed): nearly constant: 0.5; could be folded",
        "a (1 of 1 seed): switched off",
    )


def test_many_sites_are_counted_where_they_are_all():
    assert advised(dict.fromkeys("abcd", "odd")) == ("all 4 sites (1 of 1 seed): odd",)
    assert advised(dict.fromkeys("abcd", "odd") | {"e": ""}) == ("a, b, c, d (1 of 1 seed): odd",)


def test_seeds_without_advice_are_not_counted():
    assert remarks([[{"site": "a"}, {"site": "b", "advice": 3}], [{"site": "a", "advice": ["odd"]}]]) == (
        "a (1 of 1 seed): odd",
    )
    assert remarks([]) == ()


def test_advice_stands_under_the_table_in_both_formats(tmp_path):
    made_run(tmp_path)
    said = "layer3.0, layer3.1 (3 of 3 seeds): switched off, it turns none of 32 predictions; could be taken out"
    assert page(read(tmp_path)).count(f"<li>{said}</li>") == 3
    lines = as_markdown(read(tmp_path)).splitlines()
    place = lines.index(f"- {said}")
    assert lines[place - 2].startswith("| layer3.1 | CBAM(64) |")


def test_results_that_know_nothing_of_it_get_the_table_they_had(tmp_path):
    asked = made_run(tmp_path)
    for trial in tmp_path.glob("*-seed*"):
        (trial / "gates.jsonl").unlink(missing_ok=True)
        result = json.loads((trial / "result.json").read_text()) | {"digest": None}
        for gate in result["gates"]:
            del gate["flipped"], gate["moved"], gate["advice"]
        write(trial / "result.json", result)
    found = gates_of(tmp_path)
    assert [column.head for column in found.table.columns[-2:]] == ["gain", "n"]
    assert (found.remarks, found.curves) == ((), None)
    assert asked.seeds == 3
    text = page(read(tmp_path))
    assert "over epochs" not in text
    assert "The lines go over" not in text


def test_lines_are_means_over_the_seeds(tmp_path):
    made_run(tmp_path, comparison(seeds=2, epochs=4))
    found = gates_of(tmp_path).curves
    assert (found.known, found.seeds, len(found.sites)) == (6, 2, 6)
    assert found.sites[4] == ("e", "layer3.0", "drift 0.09, between images 0.06")
    drift, images = found.drawings
    assert (drift.y.title, images.y.title, drift.x.title) == ("drift", "between images", "epoch")
    assert (drift.x, drift.width, drift.y.low) == (images.x, 3, 0)
    means = [0.24 * 1.5 / epoch for epoch in (2, 3, 4)]
    assert points(drift.lines[4].path) == [
        (epoch, pytest.approx(1000 - 10 * drift.y.share(mean), abs=1))
        for epoch, mean in zip((1, 2, 3), means, strict=True)
    ]
    heights = [1000 - 10 * images.y.share(0.06 * epoch / 4) for epoch in (1, 2, 3, 4)]
    assert [y for _, y in points(images.lines[4].path)] == pytest.approx(heights, abs=1)


def measures(**values):
    return {key: dict(enumerate(values.get(key, ()), 1)) for key in ("drift", "sd_images")}


def test_of_many_sites_eight_are_drawn_from_the_first_to_the_last():
    found = gate_curves([{f"layer{place}": measures(sd_images=[0.1, 0.2]) for place in range(1, 55)}])
    assert [site for _, site, _ in found.sites] == [f"layer{place}" for place in (1, 9, 16, 24, 31, 39, 46, 54)]
    assert found.known == 54
    assert len(found.drawings) == 1  # no drift
    nine = gate_curves([{f"layer{place}": measures(sd_images=[0.1]) for place in range(9)}])
    assert len(nine.sites) == 8
    assert len({site for _, site, _ in nine.sites}) == 8


@pytest.mark.parametrize("heights", [8 * [0.1], 8 * [0.0], [0.1, *7 * [1.0]], [0.0, 0.01, 0.5, 0.51, 0.52, 0.9, 1, 1]])
def test_letters_stand_apart_inside_the_drawing_and_in_the_lines_order(heights):
    found = gate_curves([{f"{place}": measures(drift=[0.0, value]) for place, value in enumerate(heights)}])
    (drawing,) = found.drawings
    labels = [line.label for line in drawing.lines]
    assert all(4 <= label <= 96 for label in labels)
    assert sorted(labels) == labels
    assert all(other - one >= 8.9 for one, other in pairwise(labels))


def test_the_page_says_how_many_sites_are_drawn(tmp_path):
    asked = made_run(tmp_path, comparison(("none", "se"), seeds=1))
    sites = [{"site": f"layer{place}", "sd_images": 0.1 * place} for place in range(20)]
    lines = [json.dumps({"epoch": epoch, "gates": sites}) for epoch in (1, 2)]
    (trial_of(tmp_path, asked) / "gates.jsonl").write_text("\n".join(lines))
    text = page(read(tmp_path))
    assert "Drawn are 8 of 20 sites, evenly spaced in depth." in text
    assert "mean over 1 seed." in text


def test_torn_lines_odd_figures_and_other_sites_are_lived_with(tmp_path):
    asked = made_run(tmp_path, comparison(("none", "se"), seeds=3, epochs=4))
    first, second, third = (trial_of(tmp_path, asked, seed=seed) / "gates.jsonl" for seed in range(3))
    first.write_text(first.read_text()[:-40])
    odd = [{"site": "layer1.0", "drift": float("nan"), "sd_images": "much"}, {"site": 3}, "gate", {"drift": 1.0}]
    second.write_text("[]\n" + json.dumps({"epoch": 1, "gates": odd}) + '\n{"epoch": 2, "gates": 7}\n')
    only = {"epoch": 2, "gates": [{"site": "extra", "drift": 0.5, "sd_images": None}]}
    third.write_bytes(b"\xff\xfe\n" + json.dumps(only).encode())
    found = gates_of(tmp_path).curves
    assert [site for _, site, _ in found.sites][-2:] == ["layer3.1", "extra"]
    assert found.sites[-1][2] == "drift 0.5"
    assert len(points(found.drawings[1].lines[0].path)) == 3  # of the first seed alone, its last line torn
    assert [line.site for line in found.drawings[1].lines] == list(range(6))
    assert "extra" in page(read(tmp_path))


@pytest.mark.parametrize("odd", [None, True, -1, 10**400, 1e308, float("inf"), "", [], [[]], {}])
@pytest.mark.parametrize("key", ["epoch", "gates", "site", "drift", "sd_images"])
def test_whatever_stands_in_a_line_there_is_a_page(tmp_path, key, odd):
    asked = made_run(tmp_path, comparison(("none", "se"), seeds=1))
    path = trial_of(tmp_path, asked) / "gates.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (lines[1] if key in lines[1] else lines[1]["gates"][2])[key] = odd
    path.write_text("\n".join(json.dumps(line) for line in lines))
    assert gates_of(tmp_path).curves.known >= 6
    assert "over epochs" in page(read(tmp_path))


@pytest.mark.parametrize("text", ["", "\n", "{", '{"epoch": 1, "gates": []}', '{"epoch": 1, "gates": [{"site": "a"}]}'])
def test_nothing_is_drawn_of_nothing(tmp_path, text):
    asked = made_run(tmp_path, comparison(("none", "se"), seeds=1))
    (trial_of(tmp_path, asked) / "gates.jsonl").write_text(text)
    assert gates_of(tmp_path).curves is None


def test_gates_that_stand_still_are_drawn_on_the_ground():
    (drawing,) = gate_curves([{"a": measures(drift=[0.0, 0.0])}]).drawings
    assert (drawing.y.low, drawing.y.high) == (0, 1)
    assert points(drawing.lines[0].path) == [(0, 1000), (1, 1000)]


def test_a_trial_on_its_way_shows_its_lines_before_its_table(tmp_path):
    asked = made_run(tmp_path, comparison(("none", "se"), seeds=1))
    (trial_of(tmp_path, asked) / "result.json").unlink()
    found = gates_of(tmp_path)
    assert found.table is None
    assert len(found.curves.sites) == len(history(1, 0, 4)[0]["gates"])
    assert 'aria-label="gates of se over epochs"' in page(read(tmp_path))
    assert "### gates of se" not in as_markdown(read(tmp_path))


def test_a_site_called_like_markup_keeps_to_its_place(tmp_path):
    asked = made_run(tmp_path, comparison(("none", "se"), seeds=1))
    trial, evil = trial_of(tmp_path, asked), "<img src=x onerror=alert(1)>"
    (trial / "gates.jsonl").write_text(json.dumps({"epoch": 1, "gates": [{"site": evil, "drift": 0.5}]}))
    result = json.loads((trial / "result.json").read_text()) | {"digest": None}
    result["gates"] = [{"site": evil, "advice": [evil]}]
    write(trial / "result.json", result)
    text = page(read(tmp_path))
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") > 3
    assert "<img" not in text
    assert "<img" not in as_markdown(read(tmp_path)).replace("\\<img", "")
