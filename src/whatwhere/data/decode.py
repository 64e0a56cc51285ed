"""Image files made into bytes of one size."""

import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatwhere.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["THREADS", "decode", "need_pillow", "readable", "reason", "rgb", "unreadable"]

THREADS = 8
"""The most threads that decode at once: beyond that they wait for Python's lock."""
_MANY = 500
_BROKEN = (OSError, EOFError, SyntaxError, ValueError, LookupError, TypeError, struct.error, zlib.error)


def decode(call: str, files: Sequence[Path | str], image_size: int) -> Tensor:
    """Pictures scaled so that the shorter side fits and cropped about the centre, uint8 (N, 3, image_size, image_size).

    Scaled by Pillow's bilinear filter, which averages when it shrinks. Grey, palette and CMYK become RGB; 16-bit grey
    keeps its upper 8 bits; alpha is dropped; no turning by EXIF (as in torchvision's ImageFolder). Decoded on up to
    eight threads, with a progress bar on stderr when there are many and somebody watches.

    Args:
        call: the call as the user wrote it, for messages.
        files: in the order wanted.
        image_size: rows and columns.

    Raises:
        DataError: Pillow is not installed, or a file is no picture that it can read.
    """
    need_pillow(call)
    from rich.console import Console
    from rich.progress import track

    images = torch.empty(len(files), 3, image_size, image_size, dtype=torch.uint8)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        pictures = track(
            pool.map(lambda file: _picture(call, file, image_size), files),
            description="decoding",
            total=len(files),
            console=Console(stderr=True),
            transient=True,
            disable=len(files) < _MANY or not sys.stderr.isatty(),
        )
        for i, picture in enumerate(pictures):
            images[i] = torch.from_numpy(picture)
    return images


def need_pillow(call: str) -> None:
    """See that images can be read at all.

    Raises:
        DataError: Pillow is not installed.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise DataError(
            f"{call}: reading image files needs Pillow, which is not installed", fix="pip install 'whatwhere[lab]'"
        ) from None


@contextmanager
def readable(call: str, where: str, fix: str = "replace or delete the file") -> Iterator[None]:
    """While something is read that claims to be an image at ``where``.

    Raises:
        DataError: instead of the many exceptions that Pillow raises for what it cannot read.
    """
    try:
        yield
    except unreadable() as error:
        raise DataError(f"{call}: an image cannot be read", got=f"{where}: {reason(error)}", fix=fix) from None


def unreadable() -> tuple[type[Exception], ...]:
    """The many exceptions that Pillow raises for what it cannot read."""
    from PIL import Image

    return (*_BROKEN, Image.DecompressionBombError)


def reason(error: Exception) -> str:
    """One of `unreadable` in a line: its kind and what it says."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its text is the path again, or an address in memory
        return "UnidentifiedImageError: it is of no kind that Pillow knows, or breaks off in its header"
    return f"{type(error).__name__}: {error}"


def _picture(call: str, file: Path | str, image_size: int) -> NDArray[np.uint8]:
    from PIL import Image

    with readable(call, str(file)), Image.open(file) as opened:
        picture = rgb(opened)
        short = min(picture.size)
        left, top = ((side - short) / 2 for side in picture.size)
        box = (left, top, left + short, top + short)
        square = picture.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box)
    return np.array(square).transpose(2, 0, 1)


def rgb(picture: "Image.Image") -> "Image.Image":
    """The picture as 8-bit RGB, as `decode` describes it.

    Raises:
        ValueError: its pixels are floating-point numbers, of unknown range.
    """
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("floating-point pixels, whose range is not known")
    if picture.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
        upper = np.asarray(picture) >> 8
        return Image.fromarray(upper.clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture if picture.mode == "RGB" else picture.convert("RGB")
