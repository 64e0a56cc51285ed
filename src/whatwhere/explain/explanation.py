"""What an explanation is: pictures, what each network saw in them, and numbers on whether that means anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.moments import Moments

__all__ = ["Explanation", "Look", "Network", "Score", "Shown", "SiteLook"]


@dataclass(frozen=True, eq=False)
class SiteLook:
    """What one gate did to one picture: its factor as it acts, strength included.

    Attributes:
        positions: float32 (h, w), mean over channels; None for a gate that weighs channels alone.
        channels: float32 (C,), mean over positions; None for a gate that weighs positions alone.
    """

    positions: Tensor | None
    channels: Tensor | None


@dataclass(frozen=True, eq=False)
class Look:
    """One picture through one network.

    Attributes:
        classes: whose maps ``cams`` are: the class asked for, then the most probable ones.
        probabilities: of these classes.
        cams: float32 (K, h, w), each from 0 to 1.
        sites: by name, in the network's order; of a bare network empty.
    """

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]
    cams: Tensor
    sites: Mapping[str, SiteLook]


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture as all networks were given it, and what each made of it.

    Attributes:
        name: of the file, or of the data set and the image's number.
        pixels: uint8 (3, H, W), of a grey picture three times the same.
        label: the true class in words; "" where it is not known.
        mask: bool (H, W), the pixels of the labelled objects; None where they are not known.
        looks: one for each network.
    """

    name: str
    pixels: Tensor
    label: str
    mask: Tensor | None
    looks: tuple[Look, ...]


@dataclass(frozen=True)
class Score:
    """How well maps of one kind fit the objects, or the network's answer, over all pictures.

    Attributes:
        map: "cam", the name of a site, "all gates" for the mean of all of them, or "the middle, always" for a bump that
            looks at nothing; of a network with shuffled weights, that is added.
        score: "pointing", "energy", "iou", "insertion", "deletion" or "road".
        moments: over pictures, in the score's own unit, 0 to 1 (``road`` -0.5 to 0.5).
        chance: what a map without any information gets on the same pictures: the objects' share of the area, or what
            noise as coarse as the map gets; None where that is not known.
    """

    map: str
    score: str
    moments: Moments
    chance: float | None = None


@dataclass(frozen=True)
class Network:
    """One of the networks, and what holds for it over all pictures.

    Attributes:
        name: as the user gave it.
        classes: the name of each output.
        layer: the module whose output the CAMs weigh.
        diagnoses: one for each site, in order.
        scores: empty where nothing is known of where the objects are, and no other score was asked for.
        accuracy: share of the pictures with a known class that are recognised; None where there is none.
    """

    name: str
    classes: tuple[str, ...]
    layer: str
    diagnoses: tuple[Diagnosis, ...]
    scores: tuple[Score, ...] = ()
    accuracy: float | None = None


@dataclass(frozen=True, eq=False)
class Explanation:
    """The whole.

    Attributes:
        source: what the pictures were, in the user's words.
        method: of the CAMs.
        count: pictures that went through the networks.
        networks: one, or two side by side.
        pictures: those that are kept for showing, the first of all.
        problems: a line for each picture that could not be read, and whatever else the reader must know.
        settings: what else ``explain`` was told, plain values.
    """

    source: str
    method: str
    count: int
    networks: tuple[Network, ...]
    pictures: list[Shown] = field(default_factory=list)
    problems: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
