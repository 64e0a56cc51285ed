"""`whatwhere compare`, as its words are read and answered."""

import re
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
import tyro

from whatwhere.cli.compare import Compare
from whatwhere.cli.machine import Machine
from whatwhere.errors import RunError


def _run(words: str, out) -> int:
    return tyro.cli(Compare, args=["--host", "tiny", "--data", "tiny", *words.split(), "--out", str(out)]).run()


def test_help_and_wrong_words_are_answered_without_torch():
    code = "import sys, whatwhere.cli.compare; sys.exit('torch' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_option_has_a_help_text(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(Compare, args=["--help"], prog="whatwhere compare")
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    options = [field.name for field in (*fields(Compare), *fields(Machine)) if field.name != "machine"]
    assert all(f"--{name.replace('_', '-')}" in text for name in options)
    assert len(re.findall(r"[\w)]\. \(default: ", text)) == len(options)


def test_the_table_goes_to_stdout_and_progress_to_stderr(lab, tmp_path, capsys):
    assert _run("--gates none,se --seeds 2 --epochs 1 --batch-size 4", tmp_path) == 0
    out, err = capsys.readouterr()
    assert out == (tmp_path / "table.md").read_text()
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "1/4 none seed 0",
        "2/4 se seed 0",
        "3/4 none seed 1",
        "4/4 se seed 1",
        f"{tmp_path}/",
    ]


def test_quiet_leaves_the_table(lab, tmp_path, capsys):
    assert _run("--gates none --seeds 1 --batch-size 4 --quiet", tmp_path) == 0
    out, err = capsys.readouterr()
    assert out.startswith("| arm |")
    assert err == ""


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("", "lr", 0.1),
        ("--optimiser adamw", "lr", 0.001),
        ("--optimiser adamw --lr 0.5", "lr", 0.5),
        ("--schedule step", "schedule", "step"),
        ("--no-flip", "flip", False),
        ("--precision bf16", "precision", "bf16"),
        ("", "weight_decay", 5e-4),
    ],
)
def test_words_become_the_recipe(words, field, value):
    assert getattr(tyro.cli(Compare, args=words.split())._recipe(), field) == value


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("", "lr", 0.05),
        ("", "batch_size", 32),
        ("--optimiser adamw", "lr", 0.001),
        ("--lr 0.05", "lr", 0.05),
        ("--batch-size 8", "batch_size", 8),
        ("", "augment", None),
        ("--augment flip", "augment", "flip"),
        ("--decay-norms", "decay_norms", True),
    ],
)
def test_words_become_the_recipe_of_detectors(words, field, value):
    assert getattr(tyro.cli(Compare, args=["--task", "detect", *words.split()])._recipe(), field) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("detect --stem small", "--stem small is for classifiers only\n  fix: leave --stem out"),
        (
            "detect --label-smoothing 0.1",
            "--label-smoothing 0.1 is for classifiers only\n  fix: leave --label-smoothing out",
        ),
        (
            "detect --padding 0",
            "--padding 0 is for classifiers only\n  fix: --augment scale or ssd changes where things are",
        ),
        ("detect --no-flip", "--no-flip is for classifiers only\n  fix: --augment none"),
        ("detect --compile", "--compile is for classifiers only\n  fix: leave --compile out"),
        ("detect --graphs", "--graphs is for classifiers only\n  fix: leave --graphs out"),
        (
            "classify --augment ssd",
            "--augment ssd is for detectors only\n  fix: --padding and --flip change their images, or --task detect",
        ),
    ],
)
def test_what_only_the_other_task_has_is_refused(words, message, tmp_path):
    with pytest.raises(RunError) as caught:
        tyro.cli(Compare, args=["--task", *words.split(), "--out", str(tmp_path / "out")]).run()
    assert str(caught.value) == f"compare --task {words.split()[0]}: {message}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("task", "host"), [("classify", "resnet20"), ("detect", "ssd-resnet8")])
def test_each_task_has_a_usual_host(task, host, monkeypatch, tmp_path):
    asked = []

    def compare(comparison, *_, **__):
        asked.append((comparison.task, comparison.host))
        raise RunError("enough")

    monkeypatch.setattr("whatwhere.experiments.compare", compare)
    with pytest.raises(RunError, match="enough"):
        tyro.cli(Compare, args=["--task", task, "--out", str(tmp_path)]).run()
    assert asked == [(task, host)]


def test_threads_are_set_only_when_given(lab, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    with pytest.raises(RunError) as caught:
        _run("--threads 0", tmp_path)
    assert str(caught.value) == "compare --threads: there must be at least one thread\n  got: --threads 0"
    with pytest.raises(RunError) as caught:
        _run("--threads 100000", tmp_path)
    assert str(caught.value) == (
        "compare --threads: there can be 1024 threads at most\n  got: --threads 100000\n"
        "  fix: as many as the machine has cores, or fewer"
    )
    assert tyro.cli(Compare, args=[]).machine.begin("compare") is None
    assert given == []
    assert tyro.cli(Compare, args=["--threads", "3"]).machine.begin("compare") is None
    assert given == [3]


def test_a_comparison_without_yardstick_is_refused(lab, tmp_path):
    with pytest.raises(RunError, match=r"^compare\(gates='se'\): 'none', the bare host as the yardstick, is missing"):
        _run("--gates se", tmp_path)
    assert lab.trained == []


def test_a_terminal_gets_a_table_with_the_folder(lab, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    _run("--gates none,se --seeds 1 --batch-size 4 --quiet", tmp_path)
    out = capsys.readouterr().out
    assert "accuracy %" in out
    assert "one seed: no statement" in out
