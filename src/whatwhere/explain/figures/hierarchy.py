"""BAM's figure of hierarchical attention: what each gate found in the map, and what it left of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from whatwhere.errors import AttachError, DataError
from whatwhere.explain.figures.drawing import GREY, LINE, WIDTH, Sheet, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Passed", "hierarchy"]

_LARGEST = 90.0
_GAP, _SITE_GAP, _ROW_GAP = 2.0, 8.0, 5.0
# A gate whose factor varies less is not to look as if it did.
_LEAST_SPREAD = 0.02


@dataclass(frozen=True, eq=False)
class Passed:
    """One picture on its way through a network's gates.

    Attributes:
        name: of the file, or of the data set and the image's number.
        pixels: uint8 (3, H, W).
        label: the true class in words; "" where it is not known.
        sites: by name, in the network's order: the map before the gate and after it, each float32 (h, w), mean over
            channels; and the gate's factor, float32 (h, w), mean over channels, or None for a gate that weighs channels
            alone.
    """

    name: str
    pixels: Tensor
    label: str
    sites: Mapping[str, tuple[Tensor, Tensor, Tensor | None]]


@dataclass(frozen=True)
class _Column:
    """One site in the figure: its place, and the span of its factor over all pictures."""

    site: str
    x: float
    width: float
    span: tuple[float, float] | None


@house_style()
def hierarchy(pictures: Sequence[Passed], most: int = 4) -> "Figure":
    """One row a picture: the picture, then for each site the map before the gate, its factor, and the map after it.

    Before and after share one scale, from the least to the largest value of the two, so the gate's effect is what
    differs; the factor has one scale a site, written above it. After BAM (arXiv 1807.06514, the figure of hierarchical
    attention).

    Args:
        pictures: at least one, all through one network.
        most: sites. Of a network with more, the last of each size of map are shown, the deepest ones first of all.

    Raises:
        DataError: there is no picture.
        AttachError: the network has no gates.
    """
    if not pictures:
        raise DataError("hierarchy(pictures): there is no picture to draw")
    sites = _chosen(pictures[0].sites, most)
    if not sites:
        raise AttachError(
            "hierarchy(pictures): the network has no gates",
            fix="attach_(model, 'bam') puts gates in; cam_grid shows a bare network",
        )
    spans = [_span(pictures, site) for site in sites]
    panels = 1 + sum(3 if span else 2 for span in spans)
    size = min(_LARGEST, (WIDTH - (panels - 1 - len(sites)) * _GAP - len(sites) * _SITE_GAP) / panels)
    columns, x = [], size + _SITE_GAP
    for site, span in zip(sites, spans, strict=True):
        width = (3 if span else 2) * (size + _GAP) - _GAP
        columns.append(_Column(site, x, width, span))
        x += width + _SITE_GAP
    row = LINE + size + _ROW_GAP
    rule = (2.2 if any(spans) else 1.2) * LINE
    top = rule + 1.3 * LINE
    sheet = Sheet(x - _SITE_GAP, top + len(pictures) * row - _ROW_GAP)
    _head(sheet, rule, size, columns)
    for place, passed in enumerate(pictures):
        _row(sheet, top + place * row, size, passed, columns)
    return sheet.figure


def _chosen(sites: Mapping[str, tuple[Tensor, Tensor, Tensor | None]], most: int) -> list[str]:
    """The sites that are shown, in the network's order."""
    if len(sites) <= most:
        return list(sites)
    last = {before.shape: site for site, (before, _, _) in sites.items()}
    return [site for site in sites if site in last.values()][-most:]


def _span(pictures: Sequence[Passed], site: str) -> tuple[float, float] | None:
    """The least and the largest factor of a site over the pictures; None for a gate without positions."""
    factors = [factor for passed in pictures if (factor := passed.sites[site][2]) is not None]
    if not factors:
        return None
    return min(float(factor.min()) for factor in factors), max(float(factor.max()) for factor in factors)


def _head(sheet: Sheet, rule: float, size: float, columns: Sequence[_Column]) -> None:
    """What the columns are, sites above and maps below a rule."""
    sheet.line(0, rule, size, "input", ha="center")
    for column in columns:
        sheet.line(column.x, 0, column.width, column.site, ha="center")
        if column.span:
            low, high = (f"{end:.3f}" for end in column.span)
            sheet.line(column.x, LINE, column.width, f"factor {low} to {high}", ha="center", color=GREY)
        sheet.rule(column.x, rule, column.width)
        for place, words in enumerate(("before", "factor", "after") if column.span else ("before", "after")):
            sheet.line(column.x + place * (size + _GAP), rule, size, words, ha="center")


def _row(sheet: Sheet, y: float, size: float, passed: Passed, columns: Sequence[_Column]) -> None:
    """One picture and its maps, from ``y`` on."""
    sheet.line(0, y, WIDTH, " · ".join(filter(None, (passed.label, passed.name))), color=GREY)
    y += LINE
    sheet.picture(0, y, size, passed.pixels.permute(1, 2, 0))
    for column in columns:
        before, after, factor = passed.sites[column.site]
        low, high = float(min(before.min(), after.min())), float(max(before.max(), after.max()))
        sheet.picture(column.x, y, size, before, cmap="viridis", vmin=low, vmax=high)
        if factor is not None and column.span:
            low_factor, high_factor = _at_least_wide(*column.span)
            x = column.x + size + _GAP
            sheet.picture(x, y, size, factor, cmap="inferno", vmin=low_factor, vmax=high_factor)
        sheet.picture(column.x + column.width - size, y, size, after, cmap="viridis", vmin=low, vmax=high)


def _at_least_wide(low: float, high: float) -> tuple[float, float]:
    more = max(0.0, _LEAST_SPREAD - (high - low)) / 2
    return low - more, high + more
