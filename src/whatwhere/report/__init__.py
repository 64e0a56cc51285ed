"""Reports: what a folder of trials holds, as one page that needs nothing else, as Markdown and as CSV."""

from whatwhere.report.writing import report

__all__ = ["report"]
