"""Boxes on a picture: what a detector found, each class in its colour, and what is truly there."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from whatwhere.data.detection import Objects
from whatwhere.detect.detections import Detections

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["colour", "draw", "enlarged", "true_name"]

_GOLDEN = 0.6180339887498949
_LIGHT = (0.4, 0.65, 0.48, 0.56)
"""Luminance of one class after the other; from 0.4 on, a colour or its black edge has a contrast of 3 to any ground."""
_SHARES = (0.2126, 0.7152, 0.0722)


def draw(
    image: Tensor,
    found: Detections,
    classes: Sequence[str],
    *,
    truth: Objects | None = None,
    least_score: float = 0.3,
) -> "Image.Image":
    """Draw boxes with class and score on a copy of a picture, the surest on top; true ones dashed in white.

    Every line has a black edge and every class a bright colour, which is the same on all pictures; so lines are seen on
    any ground. Lines and letters grow with the picture, and letters are never below 10 pixels.

    Args:
        image: uint8 (3, H, W).
        found: in pixels of the picture.
        classes: the name of each label.
        truth: what is truly in it; None where that is not known. Crowds and difficult objects say so.
        least_score: of what is drawn.

    Returns:
        An RGB picture of W by H pixels, as Pillow has it.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    side = max(picture.size)
    pen = _Pen(ImageDraw.Draw(picture), picture.size, max(1, round(side / 250)))
    font = ImageFont.load_default(max(10, round(side / 42)))
    frames = [] if truth is None else truth.boxes.tolist()
    for box in frames:
        pen.dashed(box)
    sure = [place for place, score in enumerate(found.scores.tolist()) if score >= least_score][::-1]
    boxes, labels, scores = found.boxes.tolist(), found.labels.tolist(), found.scores.tolist()
    for place in sure:
        pen.solid(boxes[place], colour(labels[place]))
    for place, box in enumerate(frames):
        pen.write(true_name(truth, place, classes), font, (box[0], box[3]), "white", below=True)  # type: ignore[arg-type]
    for place in sure:
        said = f"{classes[labels[place]]} {scores[place]:.2f}"
        pen.write(said, font, (boxes[place][0], boxes[place][1]), colour(labels[place]))
    return picture


def enlarged(
    image: Tensor, found: Detections, truth: Objects | None, least: int = 320
) -> tuple[Tensor, Detections, Objects | None]:
    """A picture whose longer side has at least about ``least`` pixels, and its boxes with it, so that words have room.

    Each pixel of a smaller one becomes a square of whole pixels; of a larger one nothing changes.
    """
    factor = max(1, least // max(image.shape[-2:]))
    if factor == 1:
        return image, found, truth
    larger = image.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    known = None if truth is None else replace(truth, boxes=truth.boxes * factor, areas=truth.areas * factor**2)
    return larger, replace(found, boxes=found.boxes * factor), known


def colour(label: int) -> tuple[int, int, int]:
    """The colour of a class, red, green and blue in 0..255; black letters on it have a contrast of 9 or more.

    Hues go round by the golden section, so that neighbouring labels are far apart, and lightness changes with them.
    """
    pure = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 1, 1)  # taken as amounts of light
    light = sum(part * share for part, share in zip(pure, _SHARES, strict=True))
    wanted = _LIGHT[label % len(_LIGHT)]
    if light > wanted:
        amounts = [part * wanted / light for part in pure]
    else:
        amounts = [part + (1 - part) * (wanted - light) / (1 - light) for part in pure]
    red, green, blue = (_encoded(amount) for amount in amounts)
    return red, green, blue


def true_name(truth: Objects, place: int, classes: Sequence[str]) -> str:
    """A true object in words, with what sets it apart."""
    name = classes[int(truth.labels[place])]
    if truth.crowd[place]:
        return f"{name}, crowd"
    return f"{name}, difficult" if truth.difficult[place] else name


def _encoded(amount: float) -> int:
    """An amount of light as sRGB writes it."""
    return round(255 * (12.92 * amount if amount <= 0.0031308 else 1.055 * amount ** (1 / 2.4) - 0.055))


@dataclass(frozen=True)
class _Pen:
    """Lines of one width with a black edge on either side, and letters on a ground of their own."""

    canvas: Any
    size: tuple[int, int]
    width: int

    @property
    def _edge(self) -> int:
        return max(1, self.width // 3)

    def solid(self, box: Sequence[float], fill: tuple[int, int, int]) -> None:
        """A frame just inside a box."""
        x0, y0, x1, y1 = self._pixels(box)
        edge = self._edge
        self.canvas.rectangle(
            (x0 - edge, y0 - edge, x1 + edge, y1 + edge), outline="black", width=self.width + 2 * edge
        )
        self.canvas.rectangle((x0, y0, x1, y1), outline=fill, width=self.width)

    def dashed(self, box: Sequence[float]) -> None:
        """The same in white, with gaps as long as its dashes."""
        x0, y0, x1, y1 = self._pixels(box)
        dash, thick, edge = 5 * self.width, self.width - 1, self._edge
        for x in range(x0, x1 + 1, 2 * dash):
            for y in (y0, max(y0, y1 - thick)):
                self._dash((x, y, min(x + dash, x1), y + thick), edge)
        for y in range(y0, y1 + 1, 2 * dash):
            for x in (x0, max(x0, x1 - thick)):
                self._dash((x, y, x + thick, min(y + dash, y1)), edge)

    def _dash(self, piece: tuple[int, int, int, int], edge: int) -> None:
        x0, y0, x1, y1 = piece
        self.canvas.rectangle((x0 - edge, y0 - edge, x1 + edge, y1 + edge), fill="black")
        self.canvas.rectangle(piece, fill="white")

    def write(self, text: str, font: Any, corner: tuple[float, float], ground: Any, below: bool = False) -> None:
        """A line of text above a box's corner, or below it; on the other side of the line where there is no room."""
        left, top, right, bottom = self.canvas.textbbox((0, 0), text, font=font)
        pad = self.width + 1
        wide, high = right - left + 2 * pad, bottom - top + 2 * pad
        x = min(max(corner[0], 0), max(self.size[0] - wide, 0))
        outside, inside = (corner[1], corner[1] - high) if below else (corner[1] - high, corner[1])
        y = outside if 0 <= outside <= self.size[1] - high else inside
        self.canvas.rectangle((x, y, x + wide - 1, y + high - 1), fill=ground, outline="black")
        self.canvas.text((x + pad - left, y + pad - top), text, fill="black", font=font)

    def _pixels(self, box: Sequence[float]) -> tuple[int, int, int, int]:
        """The first and the last pixels of a box, at least one and within the picture."""
        first = [min(max(round(low), 0), size - 1) for low, size in zip(box[:2], self.size, strict=True)]
        ends = zip(box[2:], first, self.size, strict=True)
        last = [min(max(round(high) - 1, low), size - 1) for high, low, size in ends]
        return first[0], first[1], last[0], last[1]
