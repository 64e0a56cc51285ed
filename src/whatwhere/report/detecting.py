"""From what a detector found and looked at to two files: the page, and its numbers as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from whatwhere.explain.detected import Detected, Sight
from whatwhere.report.detected import page
from whatwhere.report.explaining import check_place
from whatwhere.report.templating import as_unicode
from whatwhere.report.writing import need, write

__all__ = ["write_detected"]


def write_detected(detected: Detected, path: Path | str) -> list[Path]:
    """Write the page to ``path``, and its numbers beside it with the ending .json.

    The JSON has the tables, the scores of maps with n, interval and chance, the diagnosis of each gate, and for each
    picture all that was found and, where it is known, all that is there: class, box in pixels, and score or whether it
    is difficult or a crowd.

    Returns:
        Both files.

    Raises:
        RunError: the page's place is taken or its name does not end in .html; a library is missing; the system refuses.
    """
    out = Path(path)
    need("detect", "jinja2", "scipy", "PIL", "matplotlib")
    check_place("detect", out)
    numbers = json.dumps(_plain(detected), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    files = {out: page(detected), out.with_suffix(".json"): as_unicode(numbers)}
    for file, text in files.items():
        write("detect", file, text)
    return list(files)


def _plain(detected: Detected) -> dict[str, Any]:
    from whatwhere import __version__

    return {
        "whatwhere": __version__,
        "detector": detected.name,
        "classes": list(detected.classes),
        "source": detected.source,
        "pictures": detected.count,
        "problems": list(detected.problems),
        "tables": {title: dict(rows) for title, rows in detected.tables.items()},
        "scores": [asdict(score) for score in detected.scores],
        "gates": [gate.to_json() for gate in detected.gates],
        "shown": [_sight(sight, detected.classes) for sight in detected.sights],
    }


def _sight(sight: Sight, classes: tuple[str, ...]) -> dict[str, Any]:
    found, truth = sight.found, sight.picture.truth
    told: dict[str, Any] = {
        "name": sight.picture.name,
        "found": [
            {"class": classes[label], "score": round(score, 4), "box": box}
            for label, score, box in zip(found.labels.tolist(), found.scores.tolist(), _boxes(found.boxes), strict=True)
        ],
    }
    if truth is not None:
        told["truth"] = [
            {"class": classes[label], "box": box, "difficult": difficult, "crowd": crowd}
            for label, box, difficult, crowd in zip(
                truth.labels.tolist(), _boxes(truth.boxes), truth.difficult.tolist(), truth.crowd.tolist(), strict=True
            )
        ]
    return told


def _boxes(boxes: Tensor) -> list[list[float]]:
    """To a hundredth of a pixel."""
    return [[round(value, 2) for value in box] for box in boxes.tolist()]
