"""`whatwhere cells` as a person meets it."""

import pytest

from whatwhere.cli.cells import Cells
from whatwhere.errors import RunError


def test_it_ends_with_how_many_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert Cells(table="bam/1a").run() == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == ("| table | host | row | unit | paper | ours | agree | counted as | why |")
    assert lines[3] == ("| bam/1a | ResNet50 | d=1 | M | 24.07 | 24.07 | yes | bam:dilation=1:final_norm=channels |  |")
    assert lines[-1] == "8 of 9 cells agree"
    assert printed.err == ""


def test_a_table_of_detectors(capsys: pytest.CaptureFixture[str]) -> None:
    assert Cells(table="cbam/7").run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4] == "| cbam/7 | VGG16 StairNet | SE | M | 32.1 | 32.1 | yes | se |  |"
    assert lines[-1] == "7 of 8 cells agree"


def test_a_table_of_accuracies_alone_has_nothing_to_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert Cells(table="bam/1b").run() == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "- Nothing to count: neither parameters nor multiply-accumulates are printed there.",
        "0 of 0 cells agree",
    ]


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(RunError, match=r"^rows\('bam/6'\): the papers have no such table"):
        Cells(table="bam/6").run()
