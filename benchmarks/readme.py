"""Fill the README's tables from result files: no figure in it is typed by hand.

python benchmarks/readme.py            rewrite README.md
"""

import json
import re
from pathlib import Path
from typing import Any

from whatwhere.experiments import grid
from whatwhere.experiments.grid import Grid
from whatwhere.papers import grid as beside_the_paper

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REACH = ROOT / "benchmarks" / "results" / "reach.json"
TRAIN = ROOT / "benchmarks" / "results" / "train_step.json"
CIFAR = ROOT / "results" / "cifar100-resnet20" / "summary.json"
TABLE_1B = ROOT / "results" / "bam-1b-resnet20" / "reproduction.json"


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


def train(found: dict[str, Any]) -> str:
    """Images a second of every loop, and how ours compare with the faster of the others."""
    headers = ("loop", "images/s", "lowest", "highest", "waiting for data", "peak MB")
    rows = [
        (
            row["name"],
            *(f"{row[key]:,.0f}" for key in ("images_per_second", "lowest", "highest")),
            f"{row['waiting']:.1%}",
            f"{row['peak_mb']:,.0f}",
        )
        for row in found["rows"]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    ratios = "; ".join(f"{name} {ratio:.2f}" for name, ratio in found["ratios"].items())
    notes = [
        f"{found['network']}, batch {found['batch']}, {found['device']}, threads: {found['threads']}; {versions}. "
        f"Medians of {found['rounds']} rounds of {found['steps']} steps, contenders in turn. Peak memory is of a "
        "process that runs the loop alone, with the largest one that it started.",
        f"Ours by the faster of plain and timm, medians over rounds: {ratios}.",
    ]
    return Grid(headers, rows, frozenset({"loop"}), notes).markdown().strip()


def _pairs(values: list[list[int]] | None) -> str:
    return ", ".join(f"{channels}@{reduction}" for channels, reduction in values or []) or "none"


def filled(text: str) -> str:
    """The README with the tables that the result files give."""
    tables = {
        "reach": reach(json.loads(REACH.read_text())),
        "train": train(json.loads(TRAIN.read_text())),
        "reproduce": beside_the_paper(json.loads(TABLE_1B.read_text())).markdown().strip(),
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
