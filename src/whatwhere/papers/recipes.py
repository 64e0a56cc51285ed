"""Every table that can be trained, by name."""

from collections.abc import Callable, Mapping

from whatwhere.errors import RunError, closest
from whatwhere.papers import bam, cbam
from whatwhere.papers.reproduction import Reproduction

__all__ = ["RECIPES", "recipe"]

RECIPES: Mapping[str, Callable[..., Reproduction]] = {
    "bam/1a": bam.table_1a,
    "bam/1b": bam.table_1b,
    "bam/1c": bam.table_1c,
    "bam/2": bam.table_2,
    "bam/3a": bam.table_3a,
    "bam/3b": bam.table_3b,
    "bam/4a": bam.table_4a,
    "bam/4b": bam.table_4b,
    "bam/5": bam.table_5,
    "cbam/1": cbam.table_1,
    "cbam/2": cbam.table_2,
    "cbam/3": cbam.table_3,
    "cbam/4": cbam.table_4,
    "cbam/5": cbam.table_5,
    "cbam/6": cbam.table_6,
    "cbam/7": cbam.table_7,
}


def recipe(table: str) -> Callable[..., Reproduction]:
    """The recipe of a table: a function of the profile.

    Raises:
        RunError: no such table.
    """
    if table not in RECIPES:
        raise RunError(
            f"reproduce({table!r}): the papers have no such table",
            closest=closest(table, RECIPES),
            fix=f"one of {', '.join(RECIPES)}",
        )
    return RECIPES[table]
