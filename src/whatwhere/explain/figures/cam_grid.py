"""CBAM's figure of Grad-CAM: pictures, and where each network finds the class, with its probability."""

from typing import TYPE_CHECKING

import numpy as np

from whatwhere.errors import DataError
from whatwhere.explain.explanation import Explanation, Look, Network, Shown
from whatwhere.explain.figures.drawing import COLOURS, GREY, LINE, WIDTH, Sheet, house_style, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["cam_grid"]

_ABREAST = 6  # panels in a row, about
_LARGEST = 115.0
_GAP, _GROUP_GAP, _ROW_GAP = 3.0, 12.0, 6.0


@house_style()
def cam_grid(explanation: Explanation, most: int = 8) -> "Figure":
    """Each picture and beside it, one panel a network, the CAM over it; its objects outlined where they are known.

    Below a CAM stand its class and that class' softmax probability. It is the true class where that is known and the
    network's maps have it; else the class asked for, or the most probable, in another colour
    where the picture is labelled otherwise. After CBAM (arXiv 1807.06521, the figure of
    Grad-CAM).

    Args:
        explanation: of one or two networks.
        most: pictures, from the first on.

    Raises:
        DataError: no picture was kept.
    """
    pictures = explanation.pictures[:most]
    if not pictures:
        raise DataError("cam_grid(explanation): no picture was kept for showing", got=f"source {explanation.source!r}")
    panels = 1 + len(explanation.networks)
    abreast = min(len(pictures), max(1, _ABREAST // panels))
    size = min(_LARGEST, ((WIDTH + _GROUP_GAP) / abreast - _GROUP_GAP + _GAP) / panels - _GAP)
    group = panels * (size + _GAP) - _GAP
    row = 3.2 * LINE + size + _ROW_GAP
    top = 2.6 * LINE
    width = abreast * (group + _GROUP_GAP) - _GROUP_GAP
    sheet = Sheet(width, top + -(-len(pictures) // abreast) * row - _ROW_GAP)
    sheet.line(0, 0, width, f"{explanation.method} · {explanation.source}", color=GREY)
    for place in range(abreast):
        x = place * (group + _GROUP_GAP)
        for name in ("input", *(network.name for network in explanation.networks)):
            sheet.line(x, 1.3 * LINE, size, name, ha="center")
            x += size + _GAP
    for place, shown in enumerate(pictures):
        down, across = divmod(place, abreast)
        _picture(sheet, across * (group + _GROUP_GAP), top + down * row, size, shown, explanation.networks)
    return sheet.figure


def _picture(sheet: Sheet, x: float, y: float, size: float, shown: Shown, networks: tuple[Network, ...]) -> None:
    """One picture with its CAMs, from (x, y) on."""
    group = (1 + len(networks)) * (size + _GAP) - _GAP
    sheet.line(x, y, group, " · ".join(filter(None, (shown.label, shown.name))), color=GREY)
    y += LINE
    _outline(sheet.picture(x, y, size, shown.pixels.permute(1, 2, 0)), shown)
    for network, look in zip(networks, shown.looks, strict=True):
        x += size + _GAP
        at = _of_class(look, network, shown.label)
        _outline(sheet.picture(x, y, size, overlay(shown.pixels, look.cams[at])), shown)
        name = network.classes[look.classes[at]]
        colour = COLOURS[1] if shown.label not in ("", name) else "black"
        sheet.line(x, y + size + 2, size, f"P = {look.probabilities[at]:.2f}", ha="center", color=colour)
        sheet.line(x, y + size + 2 + LINE, size, name, ha="center", color=colour)


def _of_class(look: Look, network: Network, label: str) -> int:
    """Which of the look's classes is shown."""
    names = [network.classes[index] for index in look.classes]
    return names.index(label) if label in names else 0


def _outline(axes: "Axes", shown: Shown) -> None:
    """Draw the edge of the mask, if there is one."""
    from matplotlib.patheffects import withStroke

    if shown.mask is None or not shown.mask.any():
        return
    rows, columns = shown.mask.shape
    inside = np.pad(shown.mask.numpy().astype(float), 1)  # so that an object at the border has an edge there
    down, along = np.arange(-1, rows + 1), np.arange(-1, columns + 1)
    edge = axes.contour(along, down, inside, levels=[0.5], colors="white", linewidths=0.8)
    edge.set_path_effects([withStroke(linewidth=1.8, foreground="black")])
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
