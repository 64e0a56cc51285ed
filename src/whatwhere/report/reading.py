"""A folder of trials, or a table reproduced, as far as it has come."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.report.runs import Run, Unreadable, read_json, read_run

__all__ = ["Contents", "read"]


@dataclass(frozen=True)
class Contents:
    """What a report is about: the comparisons, and the table of a paper that they fill, {} for none."""

    name: str
    reproduction: Mapping[str, Any]
    runs: tuple[Run, ...]
    problems: tuple[str, ...]


def read(folder: Path) -> Contents:
    """Read a folder that ``compare`` or ``reproduce`` wrote, finished or not.

    Raises:
        RunError: it is no such folder, or nothing in it can be read.
    """
    problems: list[str] = []
    reproduction: Mapping[str, Any] = {}
    if (folder / "reproduction.json").exists():
        try:
            reproduction = read_json(folder / "reproduction.json")
        except Unreadable as error:
            problems.append(f"reproduction.json cannot be read ({error}): the paper's figures are missing here")
        parts = _parts(folder, reproduction)
    elif _is_comparison(folder):
        parts = [folder]
    else:
        raise _refusal(folder)
    runs = []
    for part in parts:
        try:
            runs.append(read_run(part))
        except Unreadable as error:
            problems.append(f"{part.name}: {error}")
    if not runs and not reproduction:
        raise RunError(
            f"report({str(folder)!r}): nothing in the folder can be read",
            got="; ".join(problems),
            fix="run the command that wrote it once more; it keeps finished trials",
        )
    return Contents(folder.resolve().name, reproduction, tuple(runs), tuple(problems))


def _is_comparison(folder: Path) -> bool:
    return (folder / "comparison.json").exists() or (folder / "summary.json").exists()


def _parts(folder: Path, reproduction: Mapping[str, Any]) -> list[Path]:
    """The folders that reproduction.json names, inside its own; where it cannot be read, those that look like it."""
    named = reproduction.get("folders")
    if not isinstance(named, list):
        return sorted(child for child in folder.iterdir() if _is_comparison(child))
    here = folder.resolve()
    return [folder / name for name in map(str, named) if (here / name).resolve().is_relative_to(here)]


def _refusal(folder: Path) -> RunError:
    call = f"report({str(folder)!r})"
    fix = "name a folder that `whatwhere compare` or `whatwhere reproduce` wrote (their --out)"
    if not folder.is_dir():
        return RunError(f"{call}: there is no such folder", fix=fix)
    there = sorted(child.name for child in folder.iterdir())
    near = [
        str(folder / name)
        for name in there
        if _is_comparison(folder / name) or (folder / name / "reproduction.json").exists()
    ]
    return RunError(
        f"{call}: the folder holds neither comparison.json, summary.json nor reproduction.json",
        got=", ".join(there[:8]) + (", ..." if len(there) > 8 else "") if there else "an empty folder",
        closest=near[:3],
        fix=fix,
    )
