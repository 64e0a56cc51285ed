"""Lines over epochs: their mean over seeds, and the SVG path that draws them."""

import math
from collections.abc import Iterable, Mapping, Sequence

from whatwhere.report.scales import Axis

__all__ = ["HEIGHT", "Points", "mean_line", "svg_path"]

# A drawing's height in its own units; its width is one unit an epoch.
HEIGHT = 1000

Points = Mapping[int, float]


def mean_line(seeds: Sequence[Points]) -> dict[int, float]:
    """Epoch by epoch, over the seeds that have it."""
    epochs = sorted({epoch for points in seeds for epoch in points})
    at = {epoch: [points[epoch] for points in seeds if epoch in points] for epoch in epochs}
    return {epoch: math.fsum(values) / len(values) for epoch, values in at.items()}


def svg_path(points: Iterable[tuple[int, float]], x: Axis, y: Axis, gaps: bool = True) -> str:
    """Whole units and steps from point to point, which are short to write; an epoch that is missing is a gap."""
    words: list[str] = []
    before: tuple[int, int] | None = None
    for epoch, value in points:
        # far outside it makes no difference where, and SVG's numbers end somewhere
        height = round(HEIGHT - HEIGHT * min(max(y.share(value), -1e4), 1e4) / 100)
        if before is None or (gaps and epoch != before[0] + 1):
            words.append(f"M{epoch - x.low:g} {height}h0")
        else:
            words.append(f"l{epoch - before[0]} {height - before[1]}".replace(" -", "-"))
        before = epoch, height
    return "".join(words)
