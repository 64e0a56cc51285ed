"""Fill the README's tables from result files: no figure in it is typed by hand.

python benchmarks/readme.py            rewrite README.md
"""

import json
import re
from pathlib import Path
from typing import Any

from whatwhere.experiments import grid

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REACH = ROOT / "benchmarks" / "results" / "reach.json"
CIFAR = ROOT / "results" / "cifar100-resnet20" / "summary.json"


def reach(results: dict[str, Any]) -> str:
    """Agreement by library, and every network that disagrees."""
    counts, rows = results["counts"], results["rows"]
    versions = results["versions"]
    lines = ["| library | networks | agree |", "| --- | ---: | ---: |"]
    for library, count in counts.items():
        lines.append(f"| {library} {versions[library]} | {count['of']} | {count['agree']} |")
    odd = [row for row in rows if not row["agrees"]]
    if odd:
        lines += ["", "Where they differ (channels@reduction):", ""]
        lines += [f"- {row['network']}: found {_pairs(row['found'])}, listed {_pairs(row['key'])}" for row in odd]
    return "\n".join(lines)


def _pairs(values: list[list[int]] | None) -> str:
    return ", ".join(f"{channels}@{reduction}" for channels, reduction in values or []) or "none"


def filled(text: str) -> str:
    """The README with the tables that the result files give."""
    tables = {
        "reach": reach(json.loads(REACH.read_text())),
        "compare": grid(json.loads(CIFAR.read_text())).markdown().strip(),
    }
    for name, table in tables.items():
        pattern = rf"(<!-- {name}: [^\n]* -->\n).*?(\n<!-- end -->)"
        text, found = re.subn(pattern, lambda match, table=table: f"{match[1]}{table}{match[2]}", text, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"README.md: there is no place for the table {name!r}")
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
