"""The report as one HTML file that needs nothing else."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from whatwhere.report.curves import Curves, curves
from whatwhere.report.facts import Facts, caveats, environments, headline, recipe, setting, tiles
from whatwhere.report.forest import Forest, forest
from whatwhere.report.gates import gate_tables
from whatwhere.report.paper import paper_table
from whatwhere.report.reading import Contents
from whatwhere.report.runs import Run
from whatwhere.report.scatter import Scatter, scatters
from whatwhere.report.tables import Table, results_table, trials_table

__all__ = ["page"]

# Okabe and Ito's eight colours are all there are; further arms get them again with broken lines.
_COLOURS = 8
_LISTS = {"Stand-ins": "stand_ins", "Not verified": "unverified", "Notes": "notes"}


@dataclass(frozen=True)
class _Section:
    """All that the page shows of one comparison."""

    name: str
    title: str
    run: Run
    tiles: Facts
    results: Table
    forest: Forest | None
    scatters: list[Scatter]
    curves: list[Curves]
    gates: list[tuple[int, Table]]
    trials: Table
    setting: Facts
    recipe: Facts
    environments: list[tuple[str, Facts]]
    caveats: list[str]


def page(contents: Contents) -> str:
    """Render the page; every text that comes from a run is escaped, and a policy forbids all scripts but its own."""
    from whatwhere import __version__

    jinja = _jinja()
    script, style = (_source(jinja, name) for name in ("script.js", "style.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found = contents.reproduction
    rendered: str = jinja.get_template("page.html").render(
        title=str(found.get("title") or found.get("table") or "")
        or " and ".join(headline(run) for run in contents.runs)
        or contents.name,
        command=str(found.get("command") or ""),
        contents=contents,
        paper=paper_table(found) if found else None,
        lists={name: _texts(found.get(key)) for name, key in _LISTS.items()},
        sections=[_section(run) for run in contents.runs],
        script=script,
        digest=digest,
        style=style,
        version=__version__,
    )
    return rendered


@cache
def _jinja() -> Any:
    """Jinja's templates, compiled once a process."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        loader=PackageLoader("whatwhere.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.globals.update(mark=_mark, data=_data)
    return jinja


def _section(run: Run) -> _Section:
    return _Section(
        name=run.name,
        title=headline(run),
        run=run,
        tiles=tiles(run),
        results=results_table(run),
        forest=forest(run),
        scatters=scatters(run),
        curves=curves(run),
        gates=gate_tables(run),
        trials=trials_table(run),
        setting=setting(run),
        recipe=recipe(run),
        environments=environments(run),
        caveats=caveats(run),
    )


def _source(jinja: Any, name: str) -> str:
    source: str = jinja.loader.get_source(jinja, name)[0]
    return source


def _texts(value: Any) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else []


def _mark(arm: int) -> str:
    """The classes that give an arm its colour and its dashes."""
    return f"c{arm % _COLOURS} d{min(arm // _COLOURS, 3)}"


def _data(section: _Section) -> Mapping[str, Any]:
    """What the script reads: the mean curves, by metric and arm."""
    return {
        drawing.key: {"first": drawing.first, "low": drawing.x.low, "high": drawing.x.high, "values": drawing.values}
        for drawing in section.curves
    }
