"""What the numbers say of each gate, from the first to the last: a heat map with the numbers in it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whatwhere.errors import AttachError
from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Explanation, Network
from whatwhere.explain.figures.drawing import LINE, WIDTH, blank, house_style
from whatwhere.explain.figures.lettering import PLAIN, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["depth"]

_NAME_WIDTH = 92.0
_ABSENT = "0.82"


@dataclass(frozen=True)
class _Column:
    """One diagnostic: the fields of `Diagnosis` that add up to it, its heading, and the ends of its colour scale."""

    fields: tuple[str, ...]
    heading: str
    low: float
    high: float

    def value(self, diagnosis: Diagnosis) -> float:
        """NaN where it is not known."""
        parts = [getattr(diagnosis, name) for name in self.fields]
        return float("nan") if None in parts else float(sum(parts))


_COLUMNS = (
    _Column(("mean",), "mean\nfactor", 0, 2),
    _Column(("sd_images",), "sd over\nimages", 0, 0.2),
    _Column(("sd_within",), "sd in an\nimage", 0, 0.2),
    _Column(("saturated_low", "saturated_high"), "share\nsaturated", 0, 1),
    _Column(("entropy",), "entropy of\npositions", 0.8, 1),
    _Column(("dead",), "dead\nchannels", 0, 1),
    _Column(("classes",), "variance\nby class", 0, 1),
    _Column(("flipped",), "answers\nflipped", 0, 0.5),
    _Column(("moved",), "outputs\nmoved", 0, 0.5),
)


@house_style()
def depth(explanation: Explanation) -> "Figure":
    """One row a gate, in the network's order, one column a diagnostic, each column coloured over a range of its own.

    The range stands below the heading; what lies outside has the colour of the nearer end. Grey with a dash is a number
    that cannot be had.

    Raises:
        AttachError: no network has gates.
    """
    networks = [network for network in explanation.networks if network.diagnoses]
    if not networks:
        raise AttachError(
            "depth(explanation): no network has gates",
            got=", ".join(repr(network.name) for network in explanation.networks),
            fix="attach_(model, 'bam') puts gates in",
        )
    counts = [len(network.diagnoses) for network in networks]
    height = (5 + 2 * len(networks) + 1.25 * sum(counts)) * LINE
    figure = blank(height, layout="constrained")
    panels = figure.subplots(len(networks), 1, height_ratios=counts, squeeze=False)[:, 0]
    for axes, network in zip(panels, networks, strict=True):
        _block(axes, network)
    headings = [f"{column.heading}\n{column.low:g} to {column.high:g}" for column in _COLUMNS]
    panels[0].set_xticks(range(len(_COLUMNS)), headings)
    return figure


def _block(axes: "Axes", network: Network) -> None:
    """The gates of one network."""
    from matplotlib import colormaps

    values = np.array([[column.value(diagnosis) for column in _COLUMNS] for diagnosis in network.diagnoses])
    low, high = (np.array([getattr(column, end) for column in _COLUMNS]) for end in ("low", "high"))
    colours = colormaps["cividis"].with_extremes(bad=_ABSENT)
    shares = np.ma.masked_invalid(((values - low) / (high - low)).clip(0, 1))
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        light = colours(shares[row, column])[:3] @ np.array((0.2126, 0.7152, 0.0722)) > 0.45
        text = "–" if np.isnan(value) else f"{value:.3f}"
        axes.text(column, row, text, ha="center", va="center_baseline", color="black" if light else "white")
    axes.set_yticks(range(len(network.diagnoses)), [fit(each.site, _NAME_WIDTH) for each in network.diagnoses], **PLAIN)
    axes.set_xticks([])
    axes.set_title(fit(network.name, WIDTH - _NAME_WIDTH), loc="left", **PLAIN)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    edges = np.arange(len(_COLUMNS) + 1) - 0.5, np.arange(len(network.diagnoses) + 1) - 0.5
    axes.vlines(edges[0], edges[1][0], edges[1][-1], color="white", linewidth=1)
    axes.hlines(edges[1], edges[0][0], edges[0][-1], color="white", linewidth=1)
