"""An explanation as the page's script reads it: pictures as JPEG, maps in 8 bits with their range beside them."""

import base64
import io
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Explanation, Look, Network, Shown

__all__ = ["colours", "embedded", "thumbnail"]

# Larger maps shrink to this: on a screen the difference is not seen, and 100 pictures have to fit into one page.
_LARGEST = 56
_QUALITY = 80
_THUMBNAIL = 96


def embedded(explanation: Explanation) -> dict[str, Any]:
    """All that the script draws, as values for JSON: every number finite or None, every array in base64."""
    return {
        "lut": colours(),
        "networks": [
            {"name": network.name, "layer": network.layer, "sites": [_site(found) for found in network.diagnoses]}
            for network in explanation.networks
        ],
        "pictures": [_picture(shown, explanation.networks) for shown in explanation.pictures],
    }


def colours() -> str:
    """256 colours from low to high, RGB, in base64: matplotlib's inferno, even to the eye and to the colour-blind."""
    from matplotlib import colormaps

    table = torch.from_numpy(colormaps["inferno"](range(256), bytes=True)[:, :3].copy())
    return _base64(table)


def thumbnail(shown: Shown) -> str:
    """The picture as a JPEG, 96 pixels wide and high, cut to its middle, in base64."""
    side = min(shown.pixels.shape[-2:])
    top, left = ((length - side) // 2 for length in shown.pixels.shape[-2:])
    return _jpeg(shown.pixels[:, top : top + side, left : left + side], _THUMBNAIL)


def _site(found: Diagnosis) -> dict[str, Any]:
    return {
        "name": found.site,
        "gate": found.gate,
        "size": found.size,
        **{key: _number(getattr(found, key)) for key in ("low", "high", "sd", "strength")},
    }


def _picture(shown: Shown, networks: tuple[Network, ...]) -> dict[str, Any]:
    return {
        "name": shown.name,
        "label": shown.label,
        "height": shown.pixels.shape[-2],
        "width": shown.pixels.shape[-1],
        "jpeg": _jpeg(shown.pixels),
        "mask": None if shown.mask is None else _runs(shown.mask),
        "looks": [_look(look, network, shown.label) for look, network in zip(shown.looks, networks, strict=True)],
    }


def _look(look: Look, network: Network, label: str) -> dict[str, Any]:
    names = [network.classes[index] for index in look.classes]
    predicted = max(range(len(names)), key=lambda place: look.probabilities[place])
    sites = [look.sites[found.site] for found in network.diagnoses]
    return {
        "classes": names,
        "probabilities": [_number(value) for value in look.probabilities],
        "predicted": predicted,
        # a label that is no output of the network can be neither met nor missed
        "right": names[predicted] == label if label in network.classes else None,
        "cams": [_map(cam) for cam in look.cams],
        "sites": [
            {
                "positions": None if site.positions is None else _map(site.positions),
                "channels": None if site.channels is None else _quantised(site.channels),
            }
            for site in sites
        ],
    }


def _map(values: Tensor) -> dict[str, Any]:
    height, width = (min(side, _LARGEST) for side in values.shape)
    small = functional.interpolate(values[None, None].float(), size=(height, width), mode="area")[0, 0]
    return {"h": height, "w": width, **_quantised(small)}


def _quantised(values: Tensor) -> dict[str, Any]:
    """256 steps from the lowest value to the highest; what is not a number counts as 0."""
    found = values.detach().cpu().double().nan_to_num(0.0, 0.0, 0.0)
    low, high = float(found.min()), float(found.max())
    steps = (found - low) / ((high - low) or 1.0) * 255
    return {"low": _number(low), "high": _number(high), "data": _base64(steps.round().to(torch.uint8))}


def _runs(mask: Tensor) -> list[int]:
    """Lengths of the runs of equal pixels, row by row; the first run is of pixels outside, and may be empty."""
    flat = torch.cat([torch.tensor([False]), mask.flatten().cpu()])
    starts = torch.nonzero(flat[1:] != flat[:-1]).flatten().tolist()
    ends = [*starts, mask.numel()]
    return [end - start for start, end in zip([0, *starts], ends, strict=True)]


def _jpeg(pixels: Tensor, side: int | None = None) -> str:
    from PIL import Image

    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    file = io.BytesIO()
    (image.resize((side, side)) if side else image).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _base64(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def _number(value: float | None) -> float | None:
    """With six digits, which is more than is shown; JSON knows no infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
