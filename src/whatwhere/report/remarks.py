"""The advice that trials keep about their gates, said once for all seeds and sites that it is said of."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["remarks"]

_FIGURE = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]\d+)?)")
# So many sites are named; all of more are counted.
_NAMED = 3

# The words of a remark around its figures; site by site the figures, one list a seed.
_Said = dict[tuple[str, ...], dict[str, list[list[str]]]]


def remarks(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[str, ...]:
    """Each remark after its sites and how many of their seeds it was made of.

    Args:
        seeds: a seed's gates with their ``site`` and ``advice``; one without advice was not asked.

    Returns:
        Remarks that differ in nothing but their figures are one, with these from least to greatest.
    """
    asked: dict[str, int] = {}
    said: _Said = {}
    for gate in (gate for gates in seeds for gate in gates if isinstance(gate.get("advice"), list)):
        asked[gate["site"]] = asked.get(gate["site"], 0) + 1
        for remark in gate["advice"]:
            parts = _FIGURE.split(str(remark))
            said.setdefault(tuple(parts[::2]), {}).setdefault(gate["site"], []).append(parts[1::2])
    return tuple(text for words, sites in said.items() for text in _told(words, sites, asked))


def _told(words: Sequence[str], sites: Mapping[str, list[list[str]]], asked: Mapping[str, int]) -> list[str]:
    """One sentence for all sites that it holds for in as many seeds."""
    alike: dict[tuple[int, int], list[str]] = {}
    for site, found in sites.items():
        alike.setdefault((len(found), asked[site]), []).append(site)
    told = []
    for (some, of), those in alike.items():
        figures = [_range(found) for found in zip(*(one for site in those for one in sites[site]), strict=True)]
        text = "".join(part for pair in zip(words, [*figures, ""], strict=True) for part in pair)
        named = f"all {len(those)} sites" if _NAMED < len(those) == len(asked) else ", ".join(those)
        told.append(f"{named} ({some} of {of} {'seed' if of == 1 else 'seeds'}): {text}")
    return told


def _range(figures: Sequence[str]) -> str:
    low, high = min(figures, key=float), max(figures, key=float)
    return low if low == high else f"{low} to {high}"
