"""What is to be said of one gate after many images, in numbers and in words."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Diagnosis"]


@dataclass(frozen=True)
class Diagnosis:
    """One gate over many images. Numbers are of its factor, its strength left out; None where they cannot be had.

    Attributes:
        site: its name in the network.
        gate: the gate in words, such as ``CBAM(64)``.
        channels: of the map that it reads.
        size: rows and columns of that map.
        images: how many it saw.
        strength: how far the factor acts (``start="identity"``); None means wholly.
        mean: of the factor over images, channels and positions; likewise ``sd``, ``low`` and ``high``.
        sd_images: the spread over images at one channel and position, root mean square over at most 128 channels and
            100 positions, evenly spaced.
        sd_within: the spread inside an image, root mean square over images.
        saturated_low: share of the factor, there, in the lowest twentieth of the gate's range; likewise
            ``saturated_high``.
        entropy: of the position map, as a share of that of an even map: 1 weighs all positions alike.
        dead: share of the channels that no image raises out of the lowest twentieth.
        classes: share of the channels' variance over images that lies between classes: 0 where all classes agree.
        probed: how many images the following three are of.
        flipped: share of the images whose predicted class changes with this gate alone switched off.
        moved: how far the probabilities then move, mean total variation, 0 to 1.
        gain: the gate's output over its input, both as root mean square, strength included; None of a gate that takes
            the rest of a residual block along.
        advice: remarks in plain words; none where there is nothing to say.
    """

    site: str
    gate: str
    channels: int | None = None
    size: tuple[int, ...] | None = None
    images: int = 0
    strength: float | None = None
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    sd_images: float | None = None
    sd_within: float | None = None
    saturated_low: float | None = None
    saturated_high: float | None = None
    entropy: float | None = None
    dead: float | None = None
    classes: float | None = None
    probed: int = 0
    flipped: float | None = None
    moved: float | None = None
    gain: float | None = None
    advice: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, as JSON gives them back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
