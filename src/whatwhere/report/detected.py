"""The page that shows what a detector finds and where its gates look: one HTML file that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whatwhere.detect.drawing import colour, true_name
from whatwhere.explain.detected import Detected, Sight
from whatwhere.report.embedded import site
from whatwhere.report.encoded import colours, jpeg, small_map, thumbnail
from whatwhere.report.judged import diagnoses_table, score_tables
from whatwhere.report.tables import Cell, Column, Table
from whatwhere.report.templating import as_data, as_unicode, digest, jinja, source
from whatwhere.report.words import ABSENT, fixed

__all__ = ["LEAST", "MOST", "page"]

LEAST = 0.3
"""The score from which on boxes are shown at first, and where no script runs."""
MOST = 100
"""Pictures in a page, and boxes in a picture."""
_LOWEST = 0.05  # what is less sure is not in the page
_BYTES = 8_000_000
_SIZES = ((640, 48), (480, 40), (360, 32), (256, 24), (192, 16))
"""Longest side of pictures and of maps; the first pair that keeps the page below its bytes is taken, else the last."""


@dataclass(frozen=True)
class _Frame:
    """One box on the page: where it is, in percent of the picture, and what is written at it.

    ``classes`` say where there is room for the words, and which colour it has.
    """

    place: str
    words: str
    classes: str
    score: float | None = None


@dataclass(frozen=True)
class _Scene:
    """One picture on the page."""

    name: str
    width: int
    height: int
    jpeg: str
    found: Sequence[_Frame]
    true: Sequence[_Frame] | None


def page(detected: Detected) -> str:
    """Render the page; texts are escaped, and a policy forbids all scripts but its own and the whole network.

    It has the first 100 pictures, each with its 100 surest boxes of a score of 0.05 or more, and stays below 8 MB:
    pictures shrink to 640 pixels, and further where there are many. Without scripts the boxes from 0.3 on are shown.
    """
    text = ""
    thumbnails = [thumbnail(sight.picture.pixels) for sight in detected.sights[:MOST]]
    for side, cells in _SIZES:
        text = _rendered(detected, thumbnails, side, cells)
        if len(text.encode()) <= _BYTES:
            break
    return text


def _rendered(detected: Detected, thumbnails: Sequence[str], side: int, cells: int) -> str:
    from whatwhere import __version__

    sights = detected.sights[:MOST]
    seen = {name for sight in sights for name in sight.maps}
    sites = [gate for gate in detected.gates if gate.site in seen]
    script = source("script.js", "maps.js", "detected.js")
    data = {
        "lut": colours(),
        "sites": [site(gate) for gate in sites],
        "pictures": [_maps(sight, [gate.site for gate in sites], cells) for sight in sights],
    }
    rendered: str = (
        jinja()
        .get_template("detected.html")
        .render(
            detected=detected,
            scenes=[_scene(sight, detected.classes, side) for sight in sights],
            thumbnails=thumbnails,
            sites=sites,
            least=LEAST,
            tables=[_table(title, rows) for title, rows in detected.tables.items()],
            scores=score_tables([(detected.name, detected.scores)]),
            diagnoses=diagnoses_table(detected.name, detected.gates) if detected.gates else None,
            data=as_data(data),
            script=script,
            digest=digest(script),
            style=source("style.css", "explained.css", "detected.css") + _class_colours(sights),
            version=__version__,
        )
    )
    return as_unicode(rendered)


def _maps(sight: Sight, sites: Sequence[str], cells: int) -> list[dict[str, Any] | None]:
    return [small_map(sight.maps[name], cells) if name in sight.maps else None for name in sites]


def _scene(sight: Sight, classes: Sequence[str], side: int) -> _Scene:
    height, width = sight.picture.pixels.shape[-2:]
    scale = min(1.0, side / max(height, width))
    small = max(1, round(width * scale)), max(1, round(height * scale))
    found, truth = sight.found, sight.picture.truth
    labels, scores = found.labels.tolist(), found.scores.tolist()
    sure = sum(score >= _LOWEST for score in scores[:MOST])
    frames = [
        _frame(box, (width, height), f"{classes[label]} {score:.2f}", f"k{label}", score, depth=sure - at)
        for at, (box, label, score) in enumerate(
            zip(found.boxes[:sure].tolist(), labels[:sure], scores[:sure], strict=True)
        )
    ]
    true = None
    if truth is not None:
        boxes = truth.boxes.tolist()
        true = [_frame(box, (width, height), true_name(truth, at, classes), "") for at, box in enumerate(boxes)]
    return _Scene(sight.picture.name, *small, jpeg(sight.picture.pixels, small), frames, true)


def _frame(
    box: Sequence[float], size: tuple[int, int], words: str, kind: str, score: float | None = None, depth: int = 0
) -> _Frame:
    """The words of what was found stand above the box, of what is true below; inside where the picture ends."""
    x0, y0, x1, y1 = (
        100 * min(max(value / length, 0.0), 1.0) for value, length in zip(box, (*size, *size), strict=True)
    )
    room = y1 < 93 if score is None else y0 > 7
    classes = [kind, "" if room else "in", "end" if x0 > 60 else ""]
    place = f"left:{x0:.2f}%;top:{y0:.2f}%;width:{x1 - x0:.2f}%;height:{y1 - y0:.2f}%"
    return _Frame(f"{place};z-index:{depth}" if depth else place, words, " ".join(filter(None, classes)), score)


def _class_colours(sights: Sequence[Sight]) -> str:
    labels = sorted({label for sight in sights for label in sight.found.labels.tolist()})
    return "".join(f".k{label}{{--k:rgb{colour(label)}}}\n" for label in labels)


def _table(title: str, rows: Sequence[tuple[str, float | str | None]]) -> Table:
    return Table(
        title, [Column("name", numeric=False), Column("value")], [[Cell(name), _value(of)] for name, of in rows]
    )


def _value(value: float | str | None) -> Cell:
    if value is None:
        return Cell(ABSENT)
    if isinstance(value, str):
        return Cell(value)
    return Cell(str(value) if isinstance(value, int) else fixed(value, 3), value)
