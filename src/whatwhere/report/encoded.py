"""Pictures and maps as a page carries them, in base64: JPEG, and maps in 8 bits with their range beside them."""

import base64
import io
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["colours", "jpeg", "quantised", "rounded", "runs", "small_map", "thumbnail"]

_QUALITY = 80
_THUMBNAIL = 96


def colours() -> str:
    """256 colours from low to high, RGB, in base64: matplotlib's inferno, even to the eye and to the colour-blind."""
    from matplotlib import colormaps

    table = torch.from_numpy(colormaps["inferno"](range(256), bytes=True)[:, :3].copy())
    return _base64(table)


def thumbnail(pixels: Tensor) -> str:
    """A picture, uint8 (3, H, W), as a JPEG, 96 pixels wide and high, cut to its middle, in base64."""
    side = min(pixels.shape[-2:])
    top, left = ((length - side) // 2 for length in pixels.shape[-2:])
    return jpeg(pixels[:, top : top + side, left : left + side], (_THUMBNAIL, _THUMBNAIL))


def small_map(values: Tensor, largest: int = 56) -> dict[str, Any]:
    """A map (h, w), averaged by area to at most ``largest`` rows and columns, which on a screen is not seen."""
    height, width = (min(side, largest) for side in values.shape)
    small = functional.interpolate(values[None, None].float(), size=(height, width), mode="area")[0, 0]
    return {"h": height, "w": width, **quantised(small)}


def quantised(values: Tensor) -> dict[str, Any]:
    """256 steps from the lowest value to the highest; what is not a number counts as 0."""
    found = values.detach().cpu().double().nan_to_num(0.0, 0.0, 0.0)
    low, high = float(found.min()), float(found.max())
    steps = (found - low) / ((high - low) or 1.0) * 255
    return {"low": rounded(low), "high": rounded(high), "data": _base64(steps.round().to(torch.uint8))}


def runs(mask: Tensor) -> list[int]:
    """Lengths of the runs of equal pixels, row by row; the first run is of pixels outside, and may be empty."""
    flat = torch.cat([torch.tensor([False]), mask.flatten().cpu()])
    starts = torch.nonzero(flat[1:] != flat[:-1]).flatten().tolist()
    ends = [*starts, mask.numel()]
    return [end - start for start, end in zip([0, *starts], ends, strict=True)]


def jpeg(pixels: Tensor, size: tuple[int, int] | None = None) -> str:
    """A picture, uint8 (3, H, W), as a JPEG in base64, scaled to ``size``, width and height, if that is asked."""
    from PIL import Image

    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    file = io.BytesIO()
    (image.resize(size, reducing_gap=2.0) if size else image).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _base64(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def rounded(value: float | None) -> float | None:
    """With six digits, which is more than is shown; JSON knows no infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
