"""Which sites ``at=`` and ``exclude=`` mean."""

import re
from collections.abc import Callable, Iterable, Sequence

from whatwhere.attach.building import GateLike, own_place, show
from whatwhere.attach.sites import PLACES, Finder, Site
from whatwhere.errors import AttachError, closest

__all__ = ["Where", "choose"]

Where = str | Sequence[str] | Callable[[Site], bool]


def choose(finder: Finder, gate: GateLike, at: Where, exclude: Where | None, call: str) -> list[Site]:
    """The sites at ``at`` that ``exclude`` leaves.

    Raises:
        AttachError: nothing matches, or nothing is left.
    """
    sites = _at(finder, at, call, gate)
    if exclude is None:
        return sites
    kept = _without(finder, sites, exclude, call)
    if not kept:
        raise AttachError(
            f"{call}: exclude={show(exclude)} leaves none of the {len(sites)} sites; nothing was changed",
            got=", ".join(site.name for site in sites[:4]) + (", ..." if len(sites) > 4 else ""),
        )
    return kept


def _at(finder: Finder, at: Where, call: str, gate: GateLike) -> list[Site]:
    if isinstance(at, str) and at in PLACES:
        return _at_place(finder, at, call)
    modules = finder.modules()
    if isinstance(at, str):
        pattern = _pattern(at, call)
        sites = [site for site in modules if any(pattern.fullmatch(name) for name in site.names)]
        if not sites:
            raise _no_match(finder, modules, at, call, gate)
        return sites
    if callable(at):
        sites = [site for site in modules if at(site)]
        if not sites:
            raise AttachError(
                f"{call}: the predicate is true for none of {len(modules)} sites; nothing was changed",
                fix=f"plan(model, {show(gate)}, at='.*') lists them all",
            )
        return sites
    if not isinstance(at, Sequence) or not at or not all(isinstance(name, str) for name in at):
        raise AttachError(
            f"{call}: a place is a word, a regular expression, names or a predicate; nothing was changed",
            fix=f"one of {', '.join(map(repr, PLACES))}, or at=['layer1', 'layer2']",
        )
    known = {name for site in modules for name in site.names}
    for name in at:
        if name not in known:
            raise _no_match(finder, modules, name, call, gate)
    return [site for site in modules if set(site.names) & set(at)]


def _at_place(finder: Finder, place: str, call: str) -> list[Site]:
    sites = finder.find(place)
    if sites:
        return sites
    why = "no map is downsampled after the stem"
    if finder.unplaced(place):
        why = f"{finder.unplaced(place)} such maps are there, and none has a module of its own"
    elif place == "blocks":
        why = "no residual branch is added to a shortcut"
    elif place == "heads":
        why = "no two predictions are made from one map"
    others = [f"{other} ({len(finder.find(other))})" for other in PLACES if finder.find(other)]
    until = f"; seen until {finder.trace.cut_name} depends on values" if finder.trace.cut_name else ""
    raise AttachError(
        f"{call}: {why} in this network, as far as its forward shows; nothing was changed",
        got=f"places it has: {', '.join(others) if others else 'none'}{until}",
        fix="name modules instead: at=[...] or a regular expression",
    )


def _no_match(finder: Finder, modules: Iterable[Site], name: str, call: str, gate: GateLike) -> AttachError:
    known = [other for site in modules for other in site.names]
    level = [other for other in known if other.count(".") == name.count(".")]
    near = closest(name, level) or closest(name, known)
    if name in finder.trace.names:
        return AttachError(f"{call}: {name!r} {finder.refusal(name)}; nothing was changed", closest=near)
    usual = len(finder.find(own_place(gate)))
    listed = f"plan(model, {show(gate)}) lists all {usual} sites"
    return AttachError(
        f"{call}: no module matches {name!r}; nothing was changed",
        closest=near,
        fix=listed if usual else f"plan(model, {show(gate)}, at='.*') lists every module that can be a site",
    )


def _pattern(text: str, call: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise AttachError(f"{call}: {text!r} is no regular expression: {error}; nothing was changed") from None


def _without(finder: Finder, sites: list[Site], exclude: Where, call: str) -> list[Site]:
    if isinstance(exclude, str):
        pattern = _pattern(exclude, call)
        return [site for site in sites if not any(pattern.fullmatch(name) for name in site.names)]
    if callable(exclude):
        return [site for site in sites if not exclude(site)]
    if not isinstance(exclude, Sequence):
        raise AttachError(
            f"{call}: exclude is a regular expression, names or a predicate; nothing was changed",
            got=f"exclude={exclude!r}",
        )
    for name in exclude:
        if name not in finder.trace.names:
            raise AttachError(
                f"{call}: exclude={show(exclude)}: the network has no module {name!r}; nothing was changed",
                closest=closest(name, finder.trace.names),
            )
    return [site for site in sites if not set(site.names) & set(exclude)]
