"""One set of rows, in Markdown and on the terminal."""

import io

import pytest
from rich.console import Console

from whatwhere.experiments.table import grid, headers


def _rows(summary):
    return list(grid({"notes": [], **summary}).rows)


def _arm(gate="none", at=None, difference=None, **changes):
    return {
        "gate": gate,
        "at": at,
        "sites": ["a", "b"] if at else [],
        "parameters": 269722,
        "macs_per_image": 40_813_184,
        "bytes_kept_per_image": 1_234_567,
        "ms_per_image": 0.51234,
        "accuracy": {"n": 3, "mean": 80.126, "sd": 1.0, "low": 77.6, "high": 82.6},
        "difference": difference,
        **changes,
    }


HEADERS = headers("accuracy")
GAIN = {
    "n": 3,
    "mean": 1.5,
    "low": -0.25,
    "high": 3.25,
    "p": 0.07,
    "p_holm": 0.14,
    "detectable": 2.456,
    "verdict": "no significant difference",
}
ONE_SEED = {
    "n": 1,
    "mean": -2.0,
    "low": None,
    "high": None,
    "p": None,
    "p_holm": None,
    "detectable": None,
    "verdict": "one seed: no statement",
}
NONE_YET = {**ONE_SEED, "n": 0, "mean": None, "verdict": "no paired seed: no statement"}
PENDING = {**GAIN, "n": 2, "p": None, "p_holm": None, "detectable": None, "verdict": "pending (2 of 3 seeds)"}
OLD = {key: value for key, value in GAIN.items() if key != "detectable"}
TWO = {"n": 2, "mean": 80.0, "sd": 1.0, "low": 70.0, "high": 90.0}
GAINED = "+1.50 [-0.25, +3.25]"
LAST = ("verdict", "p (Holm)", "detectable", "difference [95 %]", "n", "accuracy %")


def test_a_row_has_all_the_words():
    assert _rows({"arms": [_arm("bam", "bottlenecks", GAIN)]}) == [
        (
            "bam",
            "bottlenecks",
            "2",
            "269,722",
            "40.81",
            "1,235",
            "0.512",
            "80.13 ± 1.00",
            "3",
            "+1.50 [-0.25, +3.25]",
            "±2.46",
            "0.140",
            "no significant difference",
        )
    ]


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (_arm(), ("–", "–", "–", "–", "3", "80.13 ± 1.00")),
        (
            _arm("se", "blocks", ONE_SEED, accuracy={"n": 1, "mean": 80.0, "sd": None, "low": None, "high": None}),
            ("one seed: no statement", "–", "–", "-2.00", "1", "80.00"),
        ),
        (_arm("se", "blocks", NONE_YET, accuracy=None), ("no paired seed: no statement", "–", "–", "–", "0", "–")),
        (_arm("se", "blocks", {**GAIN, "p_holm": 0.0004, "verdict": "better"}), ("better", "< 0.001")),
        (
            _arm("se", "blocks", PENDING, accuracy=TWO, declared=3),
            ("pending (2 of 3 seeds)", "–", "–", GAINED, "2 of 3", "80.00 ± 1.00"),
        ),
        (_arm(accuracy=None, declared=3), ("–", "–", "–", "–", "0 of 3", "–")),
        (_arm("se", "blocks", GAIN, declared=3), ("no significant difference", "0.140", "±2.46", GAINED, "3")),
        (_arm("se", "blocks", OLD), ("no significant difference", "0.140", "–", GAINED, "3")),
    ],
    ids=["yardstick", "one seed", "nothing yet", "small p", "pending", "bare and pending", "complete", "old file"],
)
def test_what_is_not_known_is_a_dash(arm, words):
    cells = dict(zip(HEADERS, _rows({"arms": [arm]})[0], strict=True))
    assert tuple(cells[header] for header in LAST[: len(words)]) == words


def test_an_arm_that_was_not_timed_has_no_time():
    assert _rows({"arms": [_arm(ms_per_image=None)]})[0][HEADERS.index("ms")] == "–"


def test_markdown_has_a_line_an_arm_and_a_point_a_note():
    text = grid({"arms": [_arm(), _arm("se", "layer1|layer2", GAIN)], "notes": ["first", "second"]}).markdown()
    lines = text.splitlines()
    assert lines[0] == "| " + " | ".join(HEADERS) + " |"
    assert lines[1].startswith("| --- | --- | ---: | ---: |")
    assert lines[3].startswith("| se | layer1\\|layer2 | 2 |")
    assert lines[4:] == ["", "- first", "- second"]


def test_the_terminal_shows_the_same_words_and_takes_no_markup():
    summary = {"arms": [_arm("bam", "[bold]x", GAIN)], "notes": ["the [note]"]}
    console = Console(file=io.StringIO(), width=200)
    console.print(grid(summary).rich())
    text = console.file.getvalue()
    assert all(cell in text for cell in _rows(summary)[0])
    assert "the [note]" in text
