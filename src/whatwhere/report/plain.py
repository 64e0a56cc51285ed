"""The report as Markdown, and its figures as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from whatwhere.experiments.grid import Grid
from whatwhere.experiments.measures import measure_of
from whatwhere.report.arms import Arm, number
from whatwhere.report.facts import Facts, caveats, environments, headline, recipe, setting
from whatwhere.report.gates import gates
from whatwhere.report.paper import paper_rows, paper_table
from whatwhere.report.reading import Contents
from whatwhere.report.runs import Run
from whatwhere.report.tables import Table, results_table, trials_table

__all__ = ["as_csv", "as_markdown"]

# What Markdown would take for markup; a pipe is the table's own business.
_MARKUP = str.maketrans({mark: f"\\{mark}" for mark in "\\`*<[]"} | {"\n": " ", "\r": " "})
# A spreadsheet takes a text that starts like this for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_markdown(contents: Contents) -> str:
    """The tables of the page, without its drawings."""
    found = contents.reproduction
    parts = [f"# {_plain(found.get('title') or contents.name)}"]
    if found.get("command"):
        parts.append(f"    {' '.join(str(found['command']).split())}")
    parts.append(_bullets(contents.problems))
    if found:
        parts += ["## The paper beside ours", _grid(paper_table(found))]
        for title, key in (("Stand-ins", "stand_ins"), ("Not verified", "unverified"), ("Notes", "notes")):
            said = found.get(key)
            if isinstance(said, list) and said:
                parts += [f"### {title}", _bullets(said)]
    for run in contents.runs:
        parts += _run(run)
    return "\n\n".join(part for part in parts if part) + "\n"


def _run(run: Run) -> list[str]:
    parts = [f"## {_plain(headline(run))}", _bullets(run.problems), _grid(results_table(run)), _bullets(caveats(run))]
    for found in gates(run):
        if found.table:
            parts += [f"### {_plain(found.table.caption)}", _grid(found.table), _bullets(found.remarks)]
    if run.trials:
        parts += ["### Trials", _grid(trials_table(run))]
    facts = [("Setting", setting(run)), ("Recipe", recipe(run)), *environments(run)]
    return [*parts, *(f"### {title.capitalize()}\n\n{_facts(found)}" for title, found in facts if found)]


def _grid(table: Table) -> str:
    """The cells escaped, in the house's Markdown."""
    heads = [_plain(column.head) for column in table.columns]
    words = frozenset(head for head, column in zip(heads, table.columns, strict=True) if not column.numeric)
    return Grid(heads, [[_plain(cell.text) for cell in row] for row in table.rows], words).markdown().rstrip()


def _bullets(texts: Sequence[Any]) -> str:
    return "\n".join(f"- {_plain(text)}" for text in texts)


def _facts(facts: Facts) -> str:
    return _bullets([f"{name}: {value}" for name, value in facts])


def _plain(text: Any) -> str:
    return str(text).translate(_MARKUP)


def as_csv(contents: Contents) -> str:
    """One line for each row of the paper, and one for each arm that fills none; figures in full precision.

    Columns: what the row or arm is, ``paper_*`` as printed, then ours. An empty cell is not known. Texts that a
    spreadsheet would take for a formula get an apostrophe in front.
    """
    lines = [*_paper_lines(contents), *_arm_lines(contents)]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writerow({key: _safe(key) for key in columns})
    writer.writerows({key: _safe(value) for key, value in line.items()} for line in lines)
    return file.getvalue()


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _paper_lines(contents: Contents) -> Iterator[dict[str, Any]]:
    arms = {(run.name, arm.name): (arm, run.measure) for run in contents.runs for arm in run.arms}
    measure = measure_of(contents.reproduction)
    for row in paper_rows(contents.reproduction):
        found = arms.get((str(row.get("folder")), str(row.get("arm"))), (Arm(str(row.get("arm"))), measure))
        keys = ("label", "printed_host", "host", "ran_host", "folder")
        line = {key: str(row[key]) for key in keys if row.get(key) is not None}
        yield {**line, **_printed(row.get("paper")), **_figures(*found), **_ours(row.get("ours"))}


def _arm_lines(contents: Contents) -> Iterator[dict[str, Any]]:
    rows = {(str(row.get("folder")), str(row.get("arm"))) for row in paper_rows(contents.reproduction)}
    for run in contents.runs:
        for arm in run.arms:
            if (run.name, arm.name) not in rows:
                yield {"folder": run.name, "ran_host": str(run.setting.get("host", "")), **_figures(arm, run.measure)}


def _printed(paper: Any) -> dict[str, Any]:
    found = paper if isinstance(paper, dict) else {}
    metrics = found.get("metrics")
    figures = {**found, **(metrics if isinstance(metrics, dict) else {})}
    return {f"paper_{key}": value for key, value in figures.items() if isinstance(value, str | int | float)}


def _ours(ours: Any) -> dict[str, Any]:
    metrics = ours.get("metrics") if isinstance(ours, dict) else None
    found = metrics if isinstance(metrics, dict) else {}
    return {
        f"{key}_{part}": value
        for key, moments in found.items()
        if isinstance(moments, dict)
        for part, value in moments.items()
        if number(value) is not None
    }


def _figures(arm: Arm, measure: str) -> dict[str, Any]:
    return {
        "arm": arm.name,
        "at": arm.at,
        "start": arm.start,
        "sites": len(arm.sites),
        "parameters": arm.parameters,
        "macs_per_image": arm.macs,
        "bytes_kept_per_image": arm.bytes_kept,
        "ms_per_image": arm.ms,
        "n": len(arm.seeds),
        "declared": arm.declared,
        **{f"{measure}_{key}": arm.score.get(key) for key in ("mean", "sd", "low", "high")},
        **{f"difference_{key}": value for key, value in arm.difference.items()},
        **{f"{measure}_seed{seed}": value for seed, value in arm.seeds.items()},
    }
