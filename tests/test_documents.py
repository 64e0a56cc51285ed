"""The examples of the documents and docstrings run."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import whatwhere as ww

ROOT = Path(__file__).parents[1]
DOCUMENTED = [
    "gates.bam",
    "gates.cbam",
    "gates.channel",
    "gates.spatial",
    "attach.surgery",
    "attach.folding",
    "explain.scores",
    "explain.with_maps",
    "ops.dispatch",
]


@pytest.mark.filterwarnings("ignore")  # of the libraries whose networks the examples build
def test_the_examples_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "gates" / "gates.json").exists()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_examples_of_docstrings_run(name: str) -> None:
    module = importlib.import_module(f"whatwhere.{name}")
    result = doctest.testmod(module, extraglobs={"torch": torch, "nn": nn, **{n: getattr(ww, n) for n in ww.__all__}})
    assert result.failed == 0
    assert result.attempted > 0


def test_the_commands_of_the_readme_are_options_that_exist() -> None:
    """Every `whatwhere ...` line of the README parses."""
    import tyro

    from whatwhere.cli import cells, compare, detect, explain, kernels, pack, plan, report, reproduce, shards

    verbs = {
        "cells": cells.Cells,
        "compare": compare.Compare,
        "detect": detect.Detect,
        "explain": explain.Explain,
        "kernels": kernels.Kernels,
        "pack": pack.Pack,
        "plan": plan.Plan,
        "report": report.Report,
        "reproduce": reproduce.Reproduce,
        "shards": shards.Shards,
    }
    lines = re.findall(r"^whatwhere (\w+) (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(lines) >= 3
    for verb, options in lines:
        tyro.cli(verbs[verb], args=options.split())


def test_the_project_speaks_of_itself_alone() -> None:
    """No document or source names a path outside the project."""
    written = [path for kind in ("*.md", "*.py", "Makefile", "*.toml") for path in ROOT.rglob(kind)]
    ours = [path for path in written if ".venv" not in path.parts and path.name != Path(__file__).name]
    odd = [str(path) for path in ours if re.search(r"/(work|root|home)/\w", path.read_text())]
    assert odd == []


def test_the_tables_of_the_documents_are_those_of_the_result_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    readme = importlib.import_module("readme")
    for path, tables in (
        (readme.README, readme.README_TABLES),
        (readme.SPEED, readme.SPEED_TABLES),
        (readme.LOOKING, readme.LOOKING_TABLES),
        (readme.DETECTION, readme.DETECTION_TABLES),
    ):
        assert readme.filled(path.read_text(), tables) == path.read_text(), path.name
