"""The report as one HTML file that needs nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whatwhere.experiments.measures import MEASURES
from whatwhere.report.curves import Curves, curves
from whatwhere.report.facts import Facts, caveats, environments, headline, recipe, setting, tiles
from whatwhere.report.forest import Forest, forest
from whatwhere.report.gates import Gates, gates
from whatwhere.report.paper import paper_table
from whatwhere.report.reading import Contents
from whatwhere.report.runs import Run
from whatwhere.report.scatter import Scatter, scatters
from whatwhere.report.tables import Table, results_table, trials_table
from whatwhere.report.templating import digest, jinja, source

__all__ = ["page"]

_LISTS = {"Stand-ins": "stand_ins", "Not verified": "unverified", "Notes": "notes"}


@dataclass(frozen=True)
class _Section:
    """All that the page shows of one comparison."""

    name: str
    title: str
    run: Run
    measure: str
    tiles: Facts
    results: Table
    forest: Forest | None
    scatters: list[Scatter]
    curves: list[Curves]
    gates: list[Gates]
    trials: Table
    setting: Facts
    recipe: Facts
    environments: list[tuple[str, Facts]]
    caveats: list[str]


def page(contents: Contents) -> str:
    """Render the page; every text that comes from a run is escaped, and a policy forbids all scripts but its own."""
    from whatwhere import __version__

    script = source("script.js")
    found = contents.reproduction
    template = jinja().get_template("page.html")
    rendered: str = template.render(
        title=str(found.get("title") or found.get("table") or "")
        or " and ".join(headline(run) for run in contents.runs)
        or contents.name,
        command=str(found.get("command") or ""),
        contents=contents,
        paper=paper_table(found) if found else None,
        lists={name: _texts(found.get(key)) for name, key in _LISTS.items()},
        sections=[_section(run) for run in contents.runs],
        data=_data,
        script=script,
        digest=digest(script),
        style=source("style.css"),
        version=__version__,
    )
    return rendered


def _section(run: Run) -> _Section:
    return _Section(
        name=run.name,
        title=headline(run),
        run=run,
        measure=MEASURES[run.measure],
        tiles=tiles(run),
        results=results_table(run),
        forest=forest(run),
        scatters=scatters(run),
        curves=curves(run),
        gates=gates(run),
        trials=trials_table(run),
        setting=setting(run),
        recipe=recipe(run),
        environments=environments(run),
        caveats=caveats(run),
    )


def _texts(value: Any) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else []


def _data(section: _Section) -> Mapping[str, Any]:
    """What the script reads: the mean curves, by metric and arm."""
    return {
        drawing.key: {"first": drawing.first, "low": drawing.x.low, "high": drawing.x.high, "values": drawing.values}
        for drawing in section.curves
    }
