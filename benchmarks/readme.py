"""Fill the tables of README.md and of docs/ from result files: no figure in them is typed by hand.

python benchmarks/readme.py            rewrite them
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gate_bench import tables
from gate_bench.report import read

from whatwhere.experiments import grid
from whatwhere.experiments.grid import Grid
from whatwhere.papers import grid as beside_the_paper

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SPEED = ROOT / "docs" / "speed.md"
LOOKING = ROOT / "docs" / "looking.md"
DETECTION = ROOT / "docs" / "detection.md"
REACH = ROOT / "benchmarks" / "results" / "reach.json"
TRAIN = ROOT / "benchmarks" / "results" / "train_step.json"
GATES = ROOT / "benchmarks" / "results" / "gates.json"
EXPLAIN = ROOT / "benchmarks" / "results" / "explain.json"
DETECTORS = ROOT / "benchmarks" / "results" / "detection.json"
SCENES_DETECTED = ROOT / "results" / "detect-scenes" / "summary.json"
SCENES = ROOT / "results" / "explain-scenes" / "explained.json"
PHOTOGRAPHS = ROOT / "results" / "explain-imagenette" / "bam-coco.json"
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


def scores(found: dict[str, Any]) -> str:
    """Scores of an explanation: a row for each network and map, a column for each score, chance below."""
    networks = found["networks"]
    kinds = list(dict.fromkeys(one["score"] for network in networks for one in network["scores"]))
    rows = []
    for network in networks:
        name = Path(network["name"]).name
        maps = list(dict.fromkeys(one["map"] for one in network["scores"]))
        for each in maps:
            of_map = {one["score"]: one["moments"] for one in network["scores"] if one["map"] == each}
            rows.append((name, each, *(_interval(of_map.get(kind)) for kind in kinds)))
        chance = {one["score"]: one["chance"] for one in network["scores"]}
        rows.append((name, "without information", *(_share(chance.get(kind)) for kind in kinds)))
    counts = {one["score"]: one["moments"]["n"] for network in networks for one in network["scores"]}
    notes = [
        "Means over pictures, with their 95 % t interval; "
        + ", ".join(f"{score}: n = {count}" for score, count in counts.items())
        + ".",
    ]
    known = [f"{Path(one['name']).name} {one['accuracy']:.1%}" for one in networks if one["accuracy"] is not None]
    notes += [f"Of {found['pictures']} pictures recognised: {', '.join(known)}."] if known else []
    return Grid(("network", "map", *kinds), rows, frozenset({"network", "map"}), notes).markdown().strip()


def _interval(moments: dict[str, Any] | None) -> str:
    if moments is None:
        return "–"
    ends = "" if moments["low"] is None else f" [{moments['low']:.3f}, {moments['high']:.3f}]"
    return f"{moments['mean']:.3f}{ends}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def looking(found: dict[str, Any]) -> str:
    """What explanations cost: a row for each contender of each race."""
    rows = []
    for part in ("cams", "record", "explain"):
        for row in found[part]:
            cells = [row["problem"] or "–", ""]
            if row["times"]:
                ours = row["ours"]
                cells = [
                    f"{row['times']['median']:,.0f}",
                    f"{ours['median']:.2f} [{ours['low']:.2f}, {ours['high']:.2f}]",
                ]
            rows.append((part, row["network"], row["contender"], *cells))
    where = found["where"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    notes = [
        f"Batches of {where['batch']} at {where['size']} pixels; {where['device']}, threads: {where['threads']}; "
        f"{versions}. Medians of {found['rounds']} rounds, contenders in turn (of `explain`, a third of them); in "
        "brackets the sign interval of the median ratio.",
        "`cams`, `explain`: our time by the contender's. `record`: the contender's by that of a forward that nobody "
        "watches.",
    ]
    heads = ("race", "network", "contender", "ms", "ratio")
    return Grid(heads, rows, frozenset(heads[:3]), notes).markdown().strip()


def detection(found: dict[str, Any]) -> str:
    """What detectors cost: a row for each contender of each race, then what was measured alone."""
    rows = []
    for row in found["rows"]:
        ratio = row["by_plain"]
        shown = "–" if ratio is None else f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
        rows.append((row["race"], row["detector"], row["contender"], f"{row['times']['median']:,.0f}", shown))
    where, settings, scoring, loading = (found[key] for key in ("where", "settings", "scoring", "loading"))
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    notes = [
        f"Training: {settings['steps']} steps of {settings['batch']} images; evaluation: {settings['images']} images "
        f"of {settings['file']} pixels from files to AP; inference: one image of {settings['inference']} pixels. "
        f"{where['device']}, threads: {where['threads']}; {versions}. Medians of {found['rounds']} rounds (evaluation: "
        "half of them), contenders in turn; in brackets the sign interval of the median ratio.",
        "Reading and changing JPEG files of 640 pixels, images a second and core: "
        + ", ".join(f"{kind} {speed:.0f}" for kind, speed in loading.items())
        + ".",
        f"COCO's figures of {scoring['images']:,} images with {scoring['detections']:,} detections: "
        f"{scoring['seconds']:.1f} s of one core, pycocotools {scoring['pycocotools_seconds']:.1f} s.",
    ]
    heads = ("race", "detector", "contender", "ms", "by plain")
    return Grid(heads, rows, frozenset(heads[:3]), notes).markdown().strip()


def _pairs(values: list[list[int]] | None) -> str:
    return ", ".join(f"{channels}@{reduction}" for channels, reduction in values or []) or "none"


Table = tuple[Path, Callable[[Path], str]]
README_TABLES: dict[str, Table] = {
    "reach": (REACH, lambda path: reach(_json(path))),
    "train": (TRAIN, lambda path: train(_json(path))),
    "gates": (GATES, lambda path: tables.largest(read(path))),
    "networks": (GATES, lambda path: tables.networks(read(path))),
    "reproduce": (TABLE_1B, lambda path: beside_the_paper(_json(path)).markdown().strip()),
    "compare": (CIFAR, lambda path: grid(_json(path)).markdown().strip()),
}
LOOKING_TABLES: dict[str, Table] = {
    "scenes": (SCENES, lambda path: scores(_json(path))),
    "photographs": (PHOTOGRAPHS, lambda path: scores(_json(path))),
    "explain": (EXPLAIN, lambda path: looking(_json(path))),
}
DETECTION_TABLES: dict[str, Table] = {
    "detection": (DETECTORS, lambda path: detection(_json(path))),
    "compare-detect": (SCENES_DETECTED, lambda path: grid(_json(path)).markdown().strip()),
}
SPEED_TABLES: dict[str, Table] = {
    "maps": (GATES, lambda path: tables.all_maps(read(path))),
    "networks": (GATES, lambda path: tables.networks(read(path))),
}


def filled(text: str, wanted: dict[str, Table] = README_TABLES) -> str:
    """The document with the tables that the result files give; one whose file is not there stays as it is."""
    for name, (path, table) in wanted.items():
        pattern = rf"(<!-- {name}: [^\n]* -->\n)(.*?)(\n<!-- end -->)"
        places = re.findall(pattern, text, flags=re.DOTALL)
        if len(places) != 1:
            raise SystemExit(f"the document has {len(places)} places for the table {name!r}, not one")
        head, old, end = places[0]
        new = table(path) if path.exists() else old
        text = text.replace(head + old + end, head + new + end)
    return text


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
    SPEED.write_text(filled(SPEED.read_text(), SPEED_TABLES))
    LOOKING.write_text(filled(LOOKING.read_text(), LOOKING_TABLES))
    DETECTION.write_text(filled(DETECTION.read_text(), DETECTION_TABLES))
