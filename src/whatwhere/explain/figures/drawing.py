"""What all figures share: the page, its colours, pictures under maps, and the way to the disk."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.explain.figures.lettering import FONT, PLAIN, SIZE, fit
from whatwhere.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["COLOURS", "GREY", "INCH", "LINE", "WIDTH", "Sheet", "blank", "house_style", "overlay", "save"]

INCH = 72.0
"""In points, the unit of all lengths here."""
WIDTH = 17 / 2.54 * INCH
"""Of a figure: a page's text."""
LINE = 1.35 * SIZE
"""From one line of text to the next."""
# Okabe and Ito's colours, which people with the common colour blindnesses tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
GREY = "#606060"

_DOTS_PER_INCH = 200
_STYLE = {
    "font.family": FONT,
    "font.size": SIZE,
    "axes.labelsize": SIZE,
    "axes.titlesize": SIZE,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,  # whole outlines: what publishers ask for, and text that can be searched
}


@contextmanager
def house_style() -> Iterator[None]:
    """Inside, matplotlib draws as it does fresh from the box, but in our font; after, as the user has set it."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def blank(height: float, width: float = WIDTH, **options: Any) -> "Figure":
    """An empty figure, sizes in points, that no window and no global state knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / INCH, height / INCH), dpi=_DOTS_PER_INCH, **options)
    FigureCanvasAgg(figure)
    return figure


class Sheet:
    """A figure in which pictures and lines of text lie where they are put: x to the right, y down, both in points."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = blank(height, width)
        self._width, self._height = width, height

    def picture(self, x: float, y: float, size: float, image: np.ndarray | Tensor, **options: Any) -> "Axes":
        """A picture in the middle of a square whose top left corner is at (x, y); ``options`` are ``imshow``'s."""
        place = (x / self._width, 1 - (y + size) / self._height, size / self._width, size / self._height)
        axes = self.figure.add_axes(place)
        axes.set_axis_off()
        axes.imshow(np.asarray(image), aspect="equal", **options)
        return axes

    def line(self, x: float, y: float, width: float, text: str, **options: Any) -> "Text":
        """One line of text in its room: from (x, y) downwards and to the right, shortened to ``width``."""
        shift = {"left": 0.0, "center": width / 2}[options.setdefault("ha", "left")]
        across, up = (x + shift) / self._width, 1 - (y + SIZE) / self._height
        return self.figure.text(across, up, fit(text, width), va="baseline", **PLAIN, **options)

    def rule(self, x: float, y: float, width: float) -> None:
        """A thin line across."""
        from matplotlib.lines import Line2D

        across = (x / self._width, (x + width) / self._width)
        self.figure.add_artist(Line2D(across, (1 - y / self._height,) * 2, color=GREY, linewidth=0.5))


def overlay(pixels: Tensor, position_map: Tensor, strength: float = 0.6) -> np.ndarray:
    """A picture in grey under a map in colour: the brighter and yellower, the more the map says.

    Args:
        pixels: uint8 (3, H, W).
        position_map: float (h, w), 0 to 1; it is enlarged bilinearly.
        strength: 0 shows the grey picture alone, 1 the map alone.

    Returns:
        float32 (H, W, 3), 0 to 1.
    """
    from matplotlib import colormaps

    grey = torch.einsum("chw,c->hw", pixels.float() / 255, torch.tensor((0.299, 0.587, 0.114)))
    large = functional.interpolate(position_map[None, None].float(), size=grey.shape, mode="bilinear")[0, 0]
    colour = colormaps["inferno"](large.clamp(0, 1).numpy())[..., :3]
    mixed = (1 - strength) * grey.numpy()[..., None] + strength * colour
    return np.asarray(mixed, dtype=np.float32)


@house_style()
def save(figure: "Figure", stem: Path) -> tuple[Path, Path]:
    """Write ``STEM.png``, 200 dots an inch, and ``STEM.pdf``; the same figure gives the same bytes.

    Each file is whole or, on failure, as it was.

    Raises:
        OSError: the system refuses.
    """
    written = []
    for kind, undated in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=_DOTS_PER_INCH, metadata=undated)
        written.append((stem.with_name(f"{stem.name}.{kind}"), file.getbuffer()))
    for path, data in written:
        replace_file(path, data)
    (png, _), (pdf, _) = written
    return png, pdf
