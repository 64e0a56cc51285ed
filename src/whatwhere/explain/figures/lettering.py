"""Words in figures: shown as they are and never read as formulas, with letters that the font has, in the room there is.

The font is the one that comes with matplotlib, so a figure is the same on every machine.
"""

import functools
import unicodedata
from typing import Any

__all__ = ["FONT", "PLAIN", "SIZE", "fit", "printable"]

FONT = "DejaVu Sans"
SIZE = 7.0
"""Of all letters, in points: what journals ask for at least."""
PLAIN: dict[str, Any] = {"parse_math": False}
"""For every text that holds a name: a dollar sign in it is a dollar sign."""


def printable(text: str) -> str:
    """``text`` in one line, with "\N{REPLACEMENT CHARACTER}" for every character that cannot be printed."""
    text = unicodedata.normalize("NFC", text)
    return "".join(letter if ord(letter) in _letters() and letter.isprintable() else "\ufffd" for letter in text)


def fit(text: str, width: float) -> str:
    """``text`` as `printable` gives it; where it is wider than ``width`` points, an ellipsis stands for its middle."""
    text = shown = printable(text)
    kept = min(len(text), int(width))  # no letter is narrower than a point
    while len(shown) > 1 and _width(shown) > width:
        kept -= 1
        shown = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
    return shown


def _width(text: str) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    return float(TextToPath().get_text_width_height_descent(text, FontProperties(family=FONT, size=SIZE), False)[0])


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())
