"""The page: its figures, its words, and nothing in it that a run could have smuggled in."""

import base64
import hashlib
import json
import re

import pytest
from made_runs import comparison, gates, made_reproduction, made_run, write

from whatwhere.report import report
from whatwhere.report.gates import gates as gates_of
from whatwhere.report.page import page
from whatwhere.report.paper import paper_table
from whatwhere.report.reading import read
from whatwhere.report.tables import results_table

EVIL = "<img src=x onerror=alert(1)>"


def words(table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def column(table, head: str) -> list[str]:
    place = [column.head for column in table.columns].index(head)
    return [row[place] for row in words(table)]


def rewrite(path, change):
    value = json.loads(path.read_text())
    change(value)
    write(path, value)


def test_three_files_beside_each_other(tmp_path):
    made_run(tmp_path / "run")
    endings = [".html", ".md", ".csv"]
    assert report(tmp_path / "run") == tuple(tmp_path / "run" / f"report{ending}" for ending in endings)
    for out, stem in ((tmp_path / "new" / "folder", "new/folder/report"), (tmp_path / "mine.html", "mine")):
        assert report(tmp_path / "run", out) == tuple(tmp_path / f"{stem}{ending}" for ending in endings)
    assert all(path.stat().st_size for path in (tmp_path / "new" / "folder").iterdir())


def test_the_same_folder_gives_the_same_page(tmp_path):
    made_run(tmp_path)
    assert page(read(tmp_path)) == page(read(tmp_path))


def test_a_row_of_results(tmp_path):
    made_run(tmp_path)
    run = read(tmp_path).runs[0]
    bam, figures = run.arms[2], words(results_table(run))[2]
    mean, sd, difference = bam.score["mean"], bam.score["sd"], bam.difference
    assert figures[:6] == [
        "bam",
        f"{mean:.2f} ± {sd:.2f}",
        "3",
        f"+{difference['mean']:.2f} [+{difference['low']:.2f}, +{difference['high']:.2f}]",
        "< 0.001",
        "better",
    ]
    assert figures[6:12] == ["bottlenecks", "2", "276,172", "40.74", "1,720", "0.7"]
    assert words(results_table(run))[0][3:6] == ["–", "–", "–"]


def test_new_keys_of_a_difference_get_a_column(tmp_path):
    made_run(tmp_path)

    def add(summary):
        summary["arms"][1]["difference"] |= {"novel_low": -1.0, "novel_high": 2.5, "surprise": 0.12345, "odd_p": 0.0001}

    rewrite(tmp_path / "summary.json", add)
    table = results_table(read(tmp_path).runs[0])
    assert column(table, "novel") == ["–", "[−1.00, +2.50]", "–", "–"]
    assert column(table, "surprise") == ["–", "0.123", "–", "–"]
    assert column(table, "odd p")[1] == "< 0.001"
    assert {"bootstrap 95 %", "p (sign flip)", "detectable"} <= {column.head for column in table.columns}


def test_the_paper_beside_ours_where_others_stand_in(tmp_path):
    found = made_reproduction(tmp_path)
    table = paper_table(found)
    assert words(table) == [
        [
            *(f"ResNet50 · {label}", arm, error, "20.31 ± 0.12 [20.01, 20.61]", n, "+0.40 [−0.10, +0.90]", verdict),
            *("24.07", "0.076", "–", "0.012", "resnet8 for resnet50", at),
        ]
        for label, arm, error, n, verdict, at in (
            ("baseline", "none", "21.49", "3", "no significant difference", "–"),
            ("both, sum", "bam", "20.00", "3", "no significant difference", "bottlenecks"),
            ("SE", "se", "21.10", "1 of 3", "pending (1 of 3 seeds)", "bottlenecks"),
        )
    ]
    text = page(read(tmp_path))
    assert text.index("The paper beside ours</h2>") < text.index("resnet8 on cifar100</h2>")
    for said in (*found["stand_ins"], *found["unverified"], *found["notes"], found["command"], found["title"]):
        assert said in text


def test_the_gap_is_said_where_nothing_stands_in(tmp_path):
    found = made_reproduction(tmp_path, stand_ins=[])
    assert column(paper_table(found), "ours − paper") == ["−1.18", "+0.31", "−0.79"]


@pytest.mark.parametrize("ours", [None, {}, {"n": 0, "declared": 3, "metrics": {}, "difference": None}])
def test_a_row_without_ours_is_pending(tmp_path, ours):
    found = made_reproduction(tmp_path)
    row = words(paper_table({**found, "rows": [{**found["rows"][0], "ours": ours}]}))[0]
    assert row[2:7] == ["21.49", "–", "0 of 3" if ours else "0", "–", f"pending (0 of {3 if ours else 0} seeds)"]
    assert row[7:11] == ["24.07", "–", "–", "–"]


def test_gate_figures_are_means_over_the_seeds(tmp_path):
    made_run(tmp_path)
    found = gates_of(read(tmp_path).runs[0])
    assert [one.arm for one in found] == [1, 2, 3]
    table = found[1].table
    assert table.columns[3].head == "factor, 1 to 2"
    assert words(table)[2] == [
        *("layer2.0", "BAM(64)", "64 × 8 × 8", "1.02 to 1.90", "1.470", "0.160", "0.040", "0.140", "10 + 1", "0.500"),
        *("0.021", "0.1", "3"),
    ]
    assert [column.head for column in table.columns[-3:]] == ["flipped", "moved", "n"]
    bar = table.rows[2][3].bar
    assert (bar.low, bar.thick_low, bar.middle, bar.thick_high, bar.high) == (2, 31, 47, 63, 90)


def test_gates_without_figures_are_shown_as_such(tmp_path):
    asked = made_run(tmp_path)
    bare = dict.fromkeys(gates(1, 0)[0]) | {"site": "conv", "gate": "Eca()", "gain": 0.9, "strength": 0.25}
    for seed, found in enumerate(([bare, 3, {"gate": 1}], [], ["gate"])):
        path = tmp_path / asked.trial("se", seed).name / "result.json"
        rewrite(path, lambda result, found=found: result.update(gates=found, digest=None))
    table = gates_of(read(tmp_path).runs[0])[0].table
    assert words(table) == [["conv", "Eca()", *7 * ["–"], "0.900", "0.25", "1"]]
    assert table.rows[0][3].bar is None
    assert "Eca()" in page(read(tmp_path))


def evil_run(folder):
    """A run in which every text is an attack, as far as names can be."""
    made_run(folder)

    def poison(value):
        if isinstance(value, dict):
            return {key: poison(part) if key != "seeds" else part for key, part in value.items()}
        if isinstance(value, list):
            return [poison(part) for part in value]
        return f"{value}{EVIL}</script></style>\"'" if isinstance(value, str) else value

    rewrite(folder / "summary.json", lambda value: value.update(poison(value)))
    rewrite(folder / "comparison.json", lambda value: value.update(poison(value)))


def test_no_text_of_a_run_becomes_markup(tmp_path):
    evil_run(tmp_path)
    text = page(read(tmp_path))
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img" not in text
    assert text.count("<script") == 1  # no curves here, and so no data
    assert text.count("</style>") == 1
    assert text.count("<h1") == 1


def test_an_arm_called_like_markup_keeps_to_its_place(tmp_path):
    made_run(tmp_path, comparison(("none", f"se@{EVIL}")))
    text = page(read(tmp_path))
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") > 3
    assert "<img" not in text
    made_reproduction(
        tmp_path / "table", title=EVIL, command=EVIL, stand_ins=[EVIL], notes=[EVIL], rows=[{"arm": EVIL}]
    )
    assert "<img" not in page(read(tmp_path / "table"))


def test_the_page_is_whole_and_may_run_its_own_script_alone(tmp_path):
    made_run(tmp_path)
    text = page(read(tmp_path))
    assert re.findall(r"\b(?:src|href)=\"(?!#)[^\"]*", text) == []
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; script-src"
    assert f"{policy} 'sha256-{digest}'" in text
    assert " onclick" not in text


def test_six_arms_five_seeds_and_300_epochs_fit_into_a_megabyte(tmp_path):
    made_run(tmp_path, comparison(("none", "se", "bam", "cbam", "bam:reduction=8", "cbam:reduction=8"), 5, 300))
    size = len(page(read(tmp_path)).encode())
    assert 100_000 < size < 1_000_000


def test_more_arms_than_colours(tmp_path):
    made_run(tmp_path, comparison(("none", *(f"bam:reduction={n}" for n in range(1, 10))), seeds=2, epochs=2))
    text = page(read(tmp_path))
    assert 'class="c7 d0"' in text
    assert 'class="c0 d1"' in text
