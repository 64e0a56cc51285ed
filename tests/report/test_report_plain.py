"""Markdown and CSV: the page's figures, readable by people and by programs."""

import csv
import io

import pytest
from made_runs import comparison, made_reproduction, made_run

from whatwhere.report.plain import as_csv, as_markdown
from whatwhere.report.reading import read
from whatwhere.report.tables import results_table


def lines_of(folder) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(read(folder)))))


def test_markdown_has_the_cells_of_the_page(tmp_path):
    made_run(tmp_path)
    text = as_markdown(read(tmp_path))
    lines = text.splitlines()
    table = results_table(read(tmp_path).runs[0])
    assert lines[0] == f"# {tmp_path.name}"
    for row in table.rows:
        assert (
            "| "
            + " | ".join(cell.text.replace("<", "\\<").replace("[", "\\[").replace("]", "\\]") for cell in row)
            + " |"
            in lines
        )
    assert "- The first note." in lines
    assert "### gates of bam" in lines
    assert "- versions: torch: 2.12.0" in lines
    assert "- weight decay: 0.0005" in lines


def test_markdown_of_a_reproduction(tmp_path):
    made_reproduction(tmp_path)
    lines = as_markdown(read(tmp_path)).splitlines()
    assert lines[:3] == [
        "# BAM table 1b: which branch, and how the two are joined",
        "",
        "    whatwhere reproduce bam/1b --profile smoke",
    ]
    assert lines.index("## The paper beside ours") < lines.index("## resnet8 on cifar100")
    assert "- resnet8 stands in for resnet50" in lines
    assert any("| 21.49 | 20.31 ± 0.12 \\[20.01, 20.61\\] |" in line for line in lines)
    assert any("| 1 of 3 |" in line and "pending (1 of 3 seeds)" in line for line in lines)


def test_markdown_takes_no_markup_from_a_run(tmp_path):
    made_run(tmp_path, comparison(("none", "se@<b>|*x*`y`[z](javascript:0)")))
    text = as_markdown(read(tmp_path))
    assert "se@\\<b>\\|\\*x\\*\\`y\\`\\[z\\](javascript:0)" in text
    assert "[z](" not in text


def test_csv_of_a_comparison_is_in_full_precision(tmp_path):
    made_run(tmp_path)
    arms = read(tmp_path).runs[0].arms
    lines = lines_of(tmp_path)
    assert [line["arm"] for line in lines] == ["none", "se", "bam", "cbam"]
    for line, arm in zip(lines, arms, strict=True):
        assert float(line["accuracy_mean"]) == arm.score["mean"]
        assert [float(line[f"accuracy_seed{seed}"]) for seed in range(3)] == list(arm.seeds.values())
        assert int(line["parameters"]) == arm.parameters
    assert lines[0]["difference_p"] == ""
    assert float(lines[1]["difference_p"]) == arms[1].difference["p"]


def test_csv_of_a_reproduction_has_the_papers_figures_beside(tmp_path):
    made_reproduction(tmp_path)
    lines = lines_of(tmp_path)
    assert [(line["arm"], line["paper_error_top1"]) for line in lines] == [
        ("none", "21.49"),
        ("bam", "20.00"),
        ("se", "21.10"),
    ]
    assert (lines[0]["error_top1_mean"], lines[0]["paper_parameters"], lines[0]["host"]) == (
        "20.31",
        "24.07",
        "resnet50",
    )
    made_reproduction(tmp_path, rows=[])
    assert [line["arm"] for line in lines_of(tmp_path)] == ["none", "se", "bam"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_spreadsheet_runs_nothing(tmp_path, start):
    made_reproduction(tmp_path, rows=[{"label": f"{start}cmd()", "arm": "se", "folder": "resnet8-scenes"}])
    assert lines_of(tmp_path)[0]["label"] == f"'{start}cmd()"
    assert float(lines_of(tmp_path)[0]["difference_mean"]) > 0
