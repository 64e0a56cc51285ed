"""`reproduce`: train what fills a table, and set the paper's numbers beside what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.experiments import Comparison, Watch, compare
from whatwhere.experiments.atomic import write_json, write_text
from whatwhere.experiments.measures import MEASURES, measure_of
from whatwhere.experiments.runner import TrialsFailed
from whatwhere.papers.reproduction import Part, Reproduction
from whatwhere.papers.rows import Row
from whatwhere.papers.table import grid
from whatwhere.train.launch import is_first

__all__ = ["reproduce"]

# A paper's metric and what a summary calls what it is; an error is what an accuracy lacks.
_ERRORS = {"error_top1": "accuracy", "error_top5": "top5"}
_PRECISIONS = {"map50": "ap50", "map75": "ap75", "map": "ap"}


def reproduce(
    asked: Reproduction,
    out: Path,
    *,
    command: str = "",
    root: Path | None = None,
    watch: Watch | None = None,
    loggers: Sequence[str] = (),
) -> dict[str, Any]:
    """Run every trial of a table and write ``reproduction.json`` and ``table.md`` into ``out / asked.folder``.

    Trials lie in ``out/trials``, so that tables which share rows share their trials; every host has a folder with its
    ``compare`` summary beside the table. The same call again goes on where an interruption left it. A host that fails
    does not keep the others from running.

    Args:
        asked: what a recipe gives.
        out: the folder of all tables of one profile.
        command: what the user wrote, for the record.
        root: where the data are, for data sets that are read from disk.
        watch: told what happens.
        loggers: as in ``train``.

    Returns:
        What ``reproduction.json`` holds.

    Raises:
        Stopped: a signal asked for it, at once; the same call goes on from there.
        RunError: trials failed, at the end; all else as ``compare``, at once.
    """
    folder = out / asked.folder
    failures: list[RunError] = []
    try:
        for part in asked.parts:
            try:
                compare(
                    part.comparison,
                    folder / part.folder,
                    trials=out / "trials",
                    root=root,
                    watch=watch,
                    loggers=loggers,
                )
            except TrialsFailed as error:
                failures.append(error)
    finally:
        found = _filled(asked, folder, command)
        if found["folders"] and is_first():
            write_json(folder / "reproduction.json", found)
            write_text(folder / "table.md", grid(found).markdown())
    if failures:
        raise RunError(
            f"reproduce({asked.table!r}): {'; '.join(error.rule for error in failures)}",
            got=failures[0].got,
            fix=failures[0].fix,
        )
    return found


def _filled(asked: Reproduction, folder: Path, command: str) -> dict[str, Any]:
    summaries = {part.folder: _summary(folder / part.folder, part.comparison) for part in asked.parts}
    measure = measure_of(next(filter(None, summaries.values()), None))
    return {
        "format": 1,
        "measure": measure,
        "table": asked.table,
        "title": f"{asked.table.split('/')[0].upper()} table {asked.table.split('/')[1]}: {asked.title}",
        "profile": asked.profile,
        "command": command,
        "stand_ins": list(asked.stand_ins),
        "unverified": list(asked.unverified),
        "notes": _notes(asked, measure),
        "folders": [name for name, summary in summaries.items() if summary],
        "rows": [_row(row, arm, part, summaries[part.folder]) for part in asked.parts for row, arm in part.rows],
    }


def _summary(folder: Path, asked: Comparison) -> dict[str, Any]:
    """What ``compare`` wrote for this comparison; {} for nothing yet, or one of other epochs, images or seeds."""
    try:
        found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        same = _settings(Comparison.from_json(found["comparison"])) == _settings(asked)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RunError):  # none yet, or one that a hand changed
        return {}
    return found if same else {}


def _settings(comparison: Comparison) -> Comparison:
    """Less what ``compare`` settles by itself, and the arms, which a row finds by name."""
    return replace(comparison, gates=(), stem=None, data="")


def _notes(asked: Reproduction, measure: str) -> list[str]:
    seeds = asked.parts[0].comparison.seeds
    rule = {"voc07": "VOC2007's, eleven points at IoU 0.5", "ap": "COCO's, mAP@.5 being its AP50"}.get(measure)
    return [
        "Paper: the printed figures, one run each as far as is known. Ours: mean over seeds, with the 95 % t interval.",
        "The epoch is chosen on images held out of the training set and the test images are read once; how the papers "
        "chose theirs is not known.",
        *([f"Ours by the rule of the data: {rule}."] if rule else []),
        f"Differences are in {MEASURES[measure]}, to the bare host, paired by seed ({seeds} declared), tested within "
        "each host and Holm-corrected over its arms. A cell with fewer seeds is pending and makes no statement.",
        *(
            [f"Of the table's rows only those chosen by {asked.chosen!r}; corrected over these."]
            if asked.chosen
            else []
        ),
    ]


def _row(row: Row, arm: str, part: Part, summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": row.label,
        "printed_host": row.printed_host,
        "host": row.host,
        "ran_host": part.comparison.host,
        "arm": arm,
        "at": row.at,
        "folder": part.folder,
        "paper": {"parameters": row.parameters, "gmacs": row.gmacs, "metrics": dict(row.metrics)},
        "ours": next(
            (_ours(found, row, part, measure_of(summary)) for found in summary.get("arms", ()) if found["gate"] == arm),
            None,
        ),
    }


def _ours(found: Mapping[str, Any], row: Row, part: Part, measure: str) -> dict[str, Any]:
    score = found[measure]
    metrics = _precisions(found, row) if row.detection else _errors(found)
    return {
        "parameters": found["parameters"],
        "macs": found["macs_per_image"],
        "n": score["n"] if score else 0,
        "declared": part.comparison.seeds,
        "metrics": metrics,
        "difference": found["difference"],
    }


def _precisions(found: Mapping[str, Any], row: Row) -> dict[str, Any]:
    """What the row prints; of VOC's data by VOC's rule."""
    keys = {**_PRECISIONS, "map50": "voc07"} if "voc07" in found else _PRECISIONS
    parts = ("mean", "sd", "low", "high")
    return {name: {part: found[keys[name]][part] for part in parts} for name in row.metrics if found[keys[name]]}


def _errors(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _error(found[key]) for name, key in _ERRORS.items() if found.get(key)}


def _error(accuracy: Mapping[str, Any]) -> dict[str, Any]:
    """An accuracy's moments as those of the error, in percent; the ends of the interval change places."""
    low, high = accuracy["high"], accuracy["low"]
    return {
        "mean": 100 - accuracy["mean"],
        "sd": accuracy["sd"],
        "low": None if low is None else 100 - low,
        "high": None if high is None else 100 - high,
    }
