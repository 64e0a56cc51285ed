"""Reports: what a folder of trials holds, or what networks look at, as one page that needs nothing else."""

from whatwhere.report.detecting import write_detected
from whatwhere.report.explaining import check_page, write_explanation
from whatwhere.report.writing import report

__all__ = ["check_page", "report", "write_detected", "write_explanation"]
