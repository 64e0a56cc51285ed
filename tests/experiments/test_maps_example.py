"""The picture of the maps: made from a comparison, or told why not."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "maps.py"
USAGE = "usage: python examples/maps.py COMPARISON PICTURE, such as runs/demo docs/images/maps.png\n"


def said(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["maps.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert left.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "b", "c"]], ids=len)
def test_two_arguments_are_asked_for(arguments, monkeypatch, capsys):
    assert said(arguments, monkeypatch, capsys) == USAGE


def test_trained_bam_and_cbam_are_asked_for(tmp_path, monkeypatch, capsys):
    no = "of seed 0; `make demo` trains them\n"
    assert said([tmp_path / "no", "b.png"], monkeypatch, capsys) == (
        f"{tmp_path / 'no'} holds no trained bam and no cbam {no}{USAGE}"
    )
    trial = tmp_path / "bam-seed0-01234567"
    trial.mkdir()
    (trial / "best.safetensors").touch()
    assert said([tmp_path, "b.png"], monkeypatch, capsys) == f"{tmp_path} holds no trained cbam {no}{USAGE}"
