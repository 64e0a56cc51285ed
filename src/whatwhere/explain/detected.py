"""What a detector found and where its gates looked: pictures with boxes and maps, and numbers over all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from whatwhere.data.detection import Objects
from whatwhere.detect.detections import Detections
from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Score

__all__ = ["BoxedPicture", "Detected", "Sight"]


@dataclass(frozen=True, eq=False)
class BoxedPicture:
    """A picture to look at.

    Attributes:
        name: of the file, or as its publishers call it.
        pixels: uint8 (3, H, W).
        truth: what is in it; None where that is not known.
        id: what a results file calls it; None: its name.
    """

    name: str
    pixels: Tensor
    truth: Objects | None = None
    id: int | str | None = None


@dataclass(frozen=True, eq=False)
class Sight:
    """A picture that was looked at.

    Attributes:
        picture: as it was given.
        found: by the detector.
        maps: by site, float32 (h, w): what the gate there multiplied each position by, mean over channels, strength
            included; of the picture alone, without what the detector padded it with. Sites without such a map are
            left out.
    """

    picture: BoxedPicture
    found: Detections
    maps: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Detected:
    """The whole.

    Attributes:
        name: of the detector.
        classes: the name of each label.
        source: what the pictures were, in the user's words.
        count: pictures that went through the detector.
        sights: of those that are kept for showing, the first of all.
        gates: one for each site, in the network's order; of a gate that reads regions, over regions.
        scores: of each site's map, of all together and of a bump in the middle, against all objects of a picture but
            crowds and difficult ones; empty where no picture has any.
        tables: by title rows of a name and a value, such as the figures of COCO; None is a value that there is not.
        problems: what the reader must know.
    """

    name: str
    classes: tuple[str, ...]
    source: str
    count: int
    sights: list[Sight]
    gates: tuple[Diagnosis, ...] = ()
    scores: tuple[Score, ...] = ()
    tables: Mapping[str, Sequence[tuple[str, float | str | None]]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
