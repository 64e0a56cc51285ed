"""Explanations with made-up pictures and smooth made-up maps: no network runs."""

import torch
from torch import Tensor

from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Explanation, Look, Network, Score, Shown, SiteLook
from whatwhere.moments import describe

CLASSES = ("tench", "English springer", "cassette player", "chain saw", "church", "French horn")
SITES = (("layer1.0", 64, 56), ("layer2.0", 128, 28), ("layer3.0", 256, 14), ("layer4.0", 512, 7))
RESNET50 = tuple(
    (f"layer{stage}.{block}", 128 << stage, 112 >> stage)
    for stage, blocks in enumerate((3, 4, 6, 3), 1)
    for block in range(blocks)
)


def hill(side: int, row: float, column: float, width: float) -> Tensor:
    """A bump on a square map, 1 at its top; places and width as shares of the side."""
    places = (torch.arange(side) + 0.5) / side
    return torch.exp(-((places[:, None] - row) ** 2 + (places[None, :] - column) ** 2) / (2 * width**2))


def photograph(number: int, side: int, noise: int = 12) -> Tensor:
    """Something with a background, a body and some grain: uint8 (3, side, side)."""
    draw = torch.Generator().manual_seed(number)
    ground = torch.stack([torch.linspace(*(70 + 150 * torch.rand(2, generator=draw)).tolist(), side)] * 3)[:, :, None]
    tint = 255 * torch.rand(3, 1, 1, generator=draw)
    inside = (hill(side, *centre(number), 0.2) > 0.5).float()
    picture = ground * (1 - inside) + tint * inside + noise * torch.randn(3, side, side, generator=draw)
    return picture.clamp(0, 255).to(torch.uint8)


def centre(number: int) -> tuple[float, float]:
    return 0.35 + 0.07 * (number % 5), 0.3 + 0.09 * (number * 3 % 5)


def site_look(number: int, place: int, channels: int, side: int, parts: str) -> SiteLook:
    draw = torch.Generator().manual_seed(100 * number + place)
    grain = 0.02 * torch.rand(side, side, generator=draw)
    positions = (
        0.3 + (0.2 + 0.1 * (number % 3)) * hill(side, *centre(number + place), 0.12 + 0.04 * (place % 4)) + grain
    )
    weights = torch.sigmoid(torch.randn(channels, generator=draw) * 0.8 - 0.3)
    return SiteLook(positions if "positions" in parts else None, weights if "channels" in parts else None)


def look(number: int, sites, cams: int, side: int, parts: dict[str, str], shift: int = 0) -> Look:
    classes = tuple((number + shift + step) % len(CLASSES) for step in range(cams))
    maps = torch.stack([hill(side, *centre(number + step + shift), 0.15) for step in range(cams)])
    return Look(
        classes=classes,
        probabilities=tuple(0.7 * 0.25**step for step in range(cams)),
        cams=(maps - maps.amin()) / (maps.amax() - maps.amin()),
        sites={
            name: site_look(number, place, channels, size, parts.get(name, "positions channels"))
            for place, (name, channels, size) in enumerate(sites)
        },
    )


def diagnosis(place: int, name: str, channels: int, side: int) -> Diagnosis:
    return Diagnosis(
        site=name,
        gate=f"CBAM({channels})",
        channels=channels,
        size=(side, side),
        images=200,
        mean=0.31 + 0.02 * place,
        sd=0.11 - 0.004 * place,
        low=0.02,
        high=0.94,
        sd_images=0.04 + 0.003 * place,
        sd_within=0.09,
        saturated_low=0.01,
        saturated_high=0.002 * place,
        entropy=0.97 - 0.01 * place,
        dead=0.0,
        classes=0.08 * (1 + place % 4),
        flipped=0.01 * place,
        moved=0.02 * place,
        gain=0.33,
        advice=() if place else ("nearly constant, spread over images 0.004; could be folded into its neighbours",),
    )


def scores(maps, offset: float = 0.0) -> tuple[Score, ...]:
    chances = {"pointing": 0.21, "energy": 0.21, "iou": 0.22, "insertion": None, "deletion": None, "road": 0.0}
    return tuple(
        Score(name, score, describe([0.3 + offset + 0.03 * place + 0.01 * step for step in range(8)]), chance)
        for score, chance in chances.items()
        for place, name in enumerate(maps)
    )


def network(name: str, sites=SITES, classes=CLASSES, offset: float = 0.0) -> Network:
    found = tuple(diagnosis(place, *site) for place, site in enumerate(sites))
    return Network(name, classes, "layer4", found, scores(["cam", *(site[0] for site in sites)], offset), 0.8 + offset)


def made_explanation(pictures: int = 6, side: int = 160, name="photo {}.jpg", problems=(), **networks) -> Explanation:
    """A gated and a bare network, or those given; its second site weighs channels alone, its third positions alone."""
    parts = {"layer2.0": "channels", "layer3.0": "positions"}
    gated = networks.get("gated") or network("resnet18 with cbam", offset=0.1)
    bare = networks.get("bare") or network("resnet18", sites=())
    shown = [
        Shown(
            name=name.format(number),
            pixels=photograph(number, side),
            label=gated.classes[number % len(CLASSES)] if number % 3 != 2 else gated.classes[0],
            mask=hill(side, *centre(number), 0.2) > 0.5 if number % 2 == 0 else None,
            looks=(look(number, SITES, 4, 7, parts), look(number, (), 4, 7, parts, shift=number % 2)),
        )
        for number in range(pictures)
    ]
    return Explanation("a folder of photographs", "Grad-CAM", 200, (gated, bare), shown, tuple(problems))


def large_explanation(pictures: int = 100) -> Explanation:
    """What has to fit into 8 MB: 100 pictures of 224 pixels, one ResNet-50 with CBAM in all 16 blocks."""
    shown = [
        Shown(
            name=f"n01440764_{number}.JPEG",
            pixels=photograph(number, 224),
            label=CLASSES[number % len(CLASSES)],
            mask=hill(224, *centre(number), 0.2) > 0.5,
            looks=(look(number, RESNET50, 5, 7, {}),),
        )
        for number in range(pictures)
    ]
    return Explanation("imagenette", "Grad-CAM", 1000, (network("resnet50 with cbam", RESNET50),), shown)
