"""Which channels each gate raises: its factor channel by channel, over pictures and class by class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from whatwhere.errors import AttachError, DataError
from whatwhere.explain.explanation import Explanation
from whatwhere.explain.figures.drawing import COLOURS, GREY, LINE, WIDTH, blank, house_style
from whatwhere.explain.figures.lettering import PLAIN, SIZE, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["profiles"]

_ABREAST = 4
_PANEL_HEIGHT = 105.0
_LABEL_WIDTH = 70.0
_PERCENTILES = (10, 90)
# Channels that a class' line goes through: more than these would be a blot.
_SAMPLED = 50
# From the middle of a name's left edge to the end of its line; nothing is cut off round the name.
_LEADER = {"arrowstyle": "-", "linewidth": 0.8, "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 0, "patchA": None}


@house_style()
def profiles(explanation: Explanation, network: int = 0) -> "Figure":
    """One panel a site: the mean factor of each channel, sorted, and the band between the 10th and 90th percentile.

    All panels share the gates' range, so a gate that does little looks flat. Where at least two classes are known, the
    means of the five most frequent ones are drawn too, through fifty channels evenly over the same order. After the
    figure of activations in the paper on squeeze and excitation (arXiv 1709.01507).

    Args:
        explanation: whose kept pictures are counted.
        network: which of its networks.

    Raises:
        AttachError: the network has no gates.
        DataError: no picture was kept, or no gate weighs channels.
    """
    factors = _factors(explanation, network)
    labels = [shown.label for shown in explanation.pictures]
    columns = min(_ABREAST, len(factors))
    rows = -(-len(factors) // columns)
    width = WIDTH * min(1.0, columns / 2)
    figure = blank(3 * LINE + rows * _PANEL_HEIGHT, width, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    every = np.concatenate([values.ravel() for values in factors.values()])
    low, high = floor(every.min().round(4)), ceil(every.max().round(4))
    panels[0, 0].set_ylim(low, max(high, low + 1))
    for axes, (site, values) in zip(panels.flat, factors.items(), strict=False):
        lines = _curves(axes, values, labels)
        axes.set_title(fit(site, width / columns - 30), **PLAIN)
        if axes is panels[0, -1]:
            _name(axes, lines)
    for axes in panels.flat[len(factors) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel("factor")
    figure.supxlabel("channels, sorted by their mean factor", fontsize=SIZE)
    name = explanation.networks[network].name
    title = f"{name} · {explanation.source} · n = {len(labels)}, band: 10th to 90th percentile"
    figure.suptitle(fit(title, width - 10), x=4 / width, ha="left", fontsize=SIZE, color=GREY, **PLAIN)
    return figure


def _factors(explanation: Explanation, network: int) -> dict[str, np.ndarray]:
    """(pictures, channels) of each site that weighs channels."""
    name, pictures = explanation.networks[network].name, explanation.pictures
    if not pictures:
        raise DataError("profiles(explanation): no picture was kept for showing", got=f"source {explanation.source!r}")
    looks = [shown.looks[network].sites for shown in pictures]
    if not looks[0]:
        raise AttachError(
            f"profiles(explanation, network={network}): {name!r} has no gates",
            fix="attach_(model, 'bam') puts gates in",
        )
    rows = {site: [look[site].channels for look in looks] for site in looks[0]}
    factors = {
        site: np.stack([np.asarray(row, dtype=np.float32) for row in found])
        for site, found in rows.items()
        if found[0] is not None
    }
    if not factors:
        raise DataError(
            f"profiles(explanation, network={network}): no gate of {name!r} weighs channels",
            fix="hierarchy shows what gates do to positions",
        )
    return factors


def _curves(axes: "Axes", values: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Draw one site; the lines by name."""
    order = values.mean(0).argsort(kind="stable")
    values = values[:, order]
    ranks = np.arange(1, len(order) + 1)
    if len(values) > 1:
        low, high = np.percentile(values, _PERCENTILES, axis=0)
        axes.fill_between(ranks, low, high, color="0.85", linewidth=0)
    sampled = np.linspace(0, len(order) - 1, min(_SAMPLED, len(order))).round().astype(int)
    lines = {}
    for colour, name in zip(COLOURS, _classes(labels), strict=False):
        mean = values[[label == name for label in labels]].mean(0)
        (lines[name],) = axes.plot(ranks[sampled], mean[sampled], color=colour, linewidth=0.8)
    (lines["mean"],) = axes.plot(ranks, values.mean(0), color="black", linewidth=1.2)
    axes.set_xlim(1, max(2, len(order)))
    axes.set_xticks(sorted({1, len(order)}))
    axes.spines[["top", "right"]].set_visible(False)
    return lines


def _classes(labels: Sequence[str]) -> list[str]:
    """The most frequent known classes, as many as there are colours; none if there are fewer than two."""
    counts = Counter(label for label in labels if label)
    return [name for name, _ in counts.most_common(len(COLOURS))] if len(counts) > 1 else []


def _name(axes: "Axes", lines: Mapping[str, Any]) -> None:
    """Write each line's name to the right of its end, the names apart from one another."""
    low, high = axes.get_ylim()
    ends = sorted((float(line.get_ydata()[-1]), name) for name, line in lines.items())
    gap = LINE / (_PANEL_HEIGHT - 3 * LINE) * (high - low)
    places = _apart([end for end, _ in ends], gap, low, high)
    for (end, name), place in zip(ends, places, strict=True):
        axes.annotate(
            fit(name, _LABEL_WIDTH),
            (1, (end - low) / (high - low)),
            (1.12, (place - low) / (high - low)),
            "axes fraction",
            va="center",
            arrowprops={**_LEADER, "color": lines[name].get_color()},
            **PLAIN,
        )


def _apart(ends: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending ``ends``, moved down, and at the bottom up, so that they are ``gap`` apart from ``low`` to ``high``."""
    places: list[float] = []
    for end in reversed(ends):
        places.append(min(end, places[-1] - gap if places else high))
    return [max(place, low + step * gap) for step, place in enumerate(reversed(places))]
