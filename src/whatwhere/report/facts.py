"""What a reader needs to judge the figures: setting, recipe, versions, hardware, caveats."""

from collections.abc import Iterator, Mapping
from typing import Any

from whatwhere.report.runs import Run

__all__ = ["Facts", "caveats", "environments", "headline", "recipe", "setting", "tiles"]

Facts = list[tuple[str, str]]

_NO_SUMMARY_NOTES = (
    "Accuracies are percent, mean ± standard deviation, of the test split at the epoch that was best on the validation "
    "split. Differences are to none, in percentage points, with the 95 % t interval over paired seeds; a verdict rests "
    "on the paired t test at 5 %, Holm-corrected over the arms.",
)


def headline(run: Run) -> str:
    """What was trained on what."""
    return f"{run.setting.get('host', 'a network')} on {run.setting.get('data', 'unknown data')}"


def tiles(run: Run) -> Facts:
    """How large the comparison is and how far it has come."""
    names = {trial.spec.name: trial.state for trial in run.trials}
    finished = sum(state == "finished" for state in names.values())
    epochs = dict(recipe(run)).get("epochs", "–")
    found = [("arms", str(len(run.arms))), ("seeds", str(run.setting.get("seeds", "–"))), ("epochs", epochs)]
    return [*found, ("trials finished", f"{finished} of {len(names)}")] if names else found


def setting(run: Run) -> Facts:
    """Host, data, arms, seeds and the like."""
    images = run.summary.get("images")
    shown = {key: value for key, value in run.setting.items() if key != "recipe"}
    return [*_flat(shown), *_flat({"images": images} if isinstance(images, dict) else {})]


def recipe(run: Run) -> Facts:
    """How every trial was trained."""
    found = run.setting.get("recipe")
    return list(_flat(found)) if isinstance(found, dict) else []


def environments(run: Run) -> list[tuple[str, Facts]]:
    """Where the trials ran and where they were summarised; what is the same is said once."""
    trained: list[Any] = [trial.result.environment for trial in run.trials if trial.result is not None]
    said = run.summary.get("trained_on")
    trained = [one for one in trained or (said if isinstance(said, list) else []) if isinstance(one, dict)]
    distinct = [one for place, one in enumerate(trained) if one not in trained[:place]]
    named = [
        ("trained on" if len(distinct) == 1 else f"trained on ({place})", one) for place, one in enumerate(distinct, 1)
    ]
    last = run.summary.get("summarised_on")
    if isinstance(last, dict) and last not in distinct:
        named.append(("summarised and timed on", last))
    return [(name, list(_flat(one))) for name, one in named]


def caveats(run: Run) -> list[str]:
    """The notes of the summary, and what the page itself has to add."""
    notes = run.summary.get("notes")
    said = [str(note) for note in notes] if isinstance(notes, list) else list(_NO_SUMMARY_NOTES)
    commits = {dict(facts).get("commit", "–") for _, facts in environments(run)}
    changed = sorted(commit for commit in commits if commit.endswith("+changes"))
    if changed:
        said.append("The code differed from its commit when trials ran, so the commit alone does not give it back.")
    return said


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, part in value.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(part, dict):
            yield from _flat(part, f"{name}: ")
        else:
            yield name, _words(part)


def _words(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
