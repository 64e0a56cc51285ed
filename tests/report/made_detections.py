"""What a detector might have found, made up: no network runs."""

import torch
from made_explanations import diagnosis, hill, photograph
from support.detection_parts import made_objects

from whatwhere.detect.detections import Detections
from whatwhere.explain.detected import BoxedPicture, Detected, Sight
from whatwhere.explain.explanation import Score
from whatwhere.moments import describe

KINDS = ("person", "bicycle", "potted plant", "traffic light")
GATES = (("backbone.layer1", 64, 40), ("backbone.layer2", 128, 20), ("roi_heads.gate", 256, 7))


def found(number: int, boxes: int, height: int, width: int) -> Detections:
    """Boxes all over a picture, their scores evenly falling from 0.95."""
    draw = torch.Generator().manual_seed(number)
    corners = torch.rand(boxes, 4, generator=draw)
    corners = torch.cat([corners[:, :2] * 0.7, corners[:, :2] * 0.7 + 0.1 + 0.2 * corners[:, 2:]], 1)
    scores = torch.linspace(0.95, 0.02, boxes)
    labels = torch.randint(len(KINDS), (boxes,), generator=draw)
    return Detections(corners * torch.tensor([width, height, width, height]), labels, scores)


def sight(number: int, name: str = "photo {}.jpg", boxes: int = 12, side: int = 160, gates=GATES[:2], known=True):
    """A picture twice as wide as high on every other turn; the second of three has nothing in it."""
    pixels = photograph(number, side)[:, : side // (1 + number % 2)]
    height, width = pixels.shape[-2:]
    corners = [[0.1 * width, 0.2 * height, 0.6 * width, 0.9 * height], [0, 0, 9, 9]][: 0 if number % 3 == 1 else 2]
    truth = made_objects(corners, [0, 2][: len(corners)], crowd=[False, True][: len(corners)])
    maps = {site: 0.2 + 0.5 * hill(size, 0.3 + 0.1 * (number % 4), 0.6, 0.15) for site, _, size in gates}
    return Sight(
        BoxedPicture(name.format(number), pixels, truth if known else None), found(number, boxes, height, width), maps
    )


def made_detected(pictures: int = 4, problems=(), **changes) -> Detected:
    """Two gates with maps, and one in the regions' heads that has none."""
    maps = (*(site for site, _, _ in GATES[:2]), "all gates", "the middle, always")
    given = dict(
        name="fasterrcnn with cbam",
        classes=KINDS,
        source="a folder of photographs",
        count=50,
        sights=[sight(number) for number in range(pictures)],
        gates=tuple(diagnosis(place, *site) for place, site in enumerate(GATES)),
        scores=tuple(
            Score(one, score, describe([0.3, 0.4, 0.5 + 0.01 * place]), 0.25)
            for place, one in enumerate(maps)
            for score in ("pointing", "energy", "iou")
        ),
        tables={"COCO": [("AP", 0.28714), ("AP small", None), ("images", 50), ("IoU", "0.50:0.95")]},
        problems=("no map is shown of roi_heads.gate: reads regions, not the picture", *problems),
    )
    return Detected(**{**given, **changes})


def large_detected(pictures: int = 60) -> Detected:
    """More than fits into 8 MB at 640 pixels a side: 60 grainy pictures, 100 boxes in each and the maps of 16 gates."""
    gates = tuple((f"backbone.layer{place}", 256, 100) for place in range(16))
    few = [sight(number, boxes=100, side=640, gates=gates) for number in range(min(pictures, 3))]
    sights = [few[number % len(few)] for number in range(pictures)]
    return made_detected(sights=sights, gates=tuple(diagnosis(place, *one) for place, one in enumerate(gates)))
