"""The tables of the BAM and CBAM papers: their figures, the recipes that fill them, and ours beside theirs."""

from whatwhere.papers.forecast import Forecast, as_grid, forecast
from whatwhere.papers.recipes import RECIPES, recipe
from whatwhere.papers.reproduce import reproduce
from whatwhere.papers.reproduction import Part, Reproduction, reproduction
from whatwhere.papers.rows import Row, rows, tables
from whatwhere.papers.table import grid

__all__ = [
    "RECIPES",
    "Forecast",
    "Part",
    "Reproduction",
    "Row",
    "as_grid",
    "forecast",
    "grid",
    "recipe",
    "reproduce",
    "reproduction",
    "rows",
    "tables",
]
