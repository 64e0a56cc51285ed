"""``trial.json``: what says which trial a folder holds."""

import json
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.experiments.atomic import write_json
from whatwhere.experiments.spec import TrialSpec

__all__ = ["settle_trial_file"]


def settle_trial_file(folder: Path, spec: TrialSpec) -> str:
    """Have the folder say that it holds ``spec``, without touching one that holds another trial.

    Args:
        folder: of the trial; it exists, and may be empty, or half-written by a process that was killed.
        spec: the trial.

    Returns:
        What was wrong and has been mended, in words; "" if nothing was.

    Raises:
        RunError: the folder says that it holds another trial, or it cannot be written.
    """
    path = folder / "trial.json"
    try:
        wrong = _wrong(folder, path.read_bytes(), spec)
    except FileNotFoundError:
        wrong = "it is missing" if (folder / "checkpoint.pt").exists() else ""
    write_json(path, {"format": 1, "name": spec.name, "hash": spec.hash, **spec.to_json()})
    goes_on = "goes on from its checkpoint" if (folder / "checkpoint.pt").exists() else "starts anew"
    return f"{path}: {wrong}; it was written again, and the trial {goes_on}" if wrong else ""


def _wrong(folder: Path, text: bytes, spec: TrialSpec) -> str:
    """Why the file's text cannot be read, "" if it can."""
    try:
        found = json.loads(text)
        there = found.get("hash")
    except (ValueError, AttributeError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    try:
        written: TrialSpec | None = TrialSpec.from_json({name: found[name] for name in spec.to_json()})
    except (ValueError, KeyError, TypeError, RunError):  # of another version of this package, perhaps
        written = None
    if (written.hash if written else there) != spec.hash:
        raise RunError(
            f"'{folder}': the folder holds another trial, whose settings changed under the same name",
            got=_differences(written.to_json(), spec.to_json()) if written else f"hash {there} there, {spec.hash} here",
            fix="name another folder for the run, or move this one away to train from the start; nothing was changed",
        )
    return ""


def _differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    pairs = [(name, there[name], here[name]) for name in here if name != "recipe"]
    pairs += [(f"recipe.{name}", there["recipe"][name], here["recipe"][name]) for name in here["recipe"]]
    return "; ".join(f"{name}: {then!r} there, {now!r} here" for name, then, now in pairs if then != now)
