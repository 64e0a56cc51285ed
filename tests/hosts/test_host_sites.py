"""Gates find the papers' places: 2 in three stages, 3 in four, 4 around DenseNet's transitions, all blocks."""

import pytest
from torch import nn

from whatwhere import hosts, plan
from whatwhere.attach import Plan
from whatwhere.attach.building import GateLike


def planned(name: str, at: str, gate: GateLike = "bam") -> Plan:
    side = 224 if "/" in name else 32
    return plan(hosts.skeleton(name, num_classes=100), gate, at=at, input_size=(3, side, side))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet101", [256, 512, 1024]),
        ("preresnet110", [16, 32]),
        ("preresnet164", [64, 128]),
        ("wrn28-10", [160, 320]),
        ("resnext29-8x64d", [256, 512]),
        ("densenet100-bc-k12", [216, 300]),
        ("pyramidnet110-a270", [106, 196]),
        ("imagenet/resnet34", [64, 128, 256]),
        ("imagenet/wrn18-1.5", [96, 192, 384]),
        ("imagenet/resnext50-32x4d", [256, 512, 1024]),
        ("imagenet/mobilenet", [128, 256, 512]),
        ("torchvision/squeezenet1_1", [64, 128, 256]),
        ("torchvision/vgg16_bn", [256, 512, 512]),
        ("torchvision/densenet121", [256, 512, 1024]),
        ("torchvision/googlenet", [192, 480, 832]),
    ],
)
def test_bottlenecks(name: str, channels: list[int]) -> None:
    if name.startswith("torchvision/"):
        pytest.importorskip("torchvision")
    assert [site.channels for site in planned(name, "bottlenecks").sites] == channels


def test_back_and_forth_of_densenets_transitions() -> None:
    sites = planned("densenet100-bc-k12", "transitions").sites
    assert [(site.name, site.channels) for site in sites] == [
        ("features.denseblock1", 216),
        ("features.transition1", 108),
        ("features.denseblock2", 300),
        ("features.transition2", 150),
    ]


@pytest.mark.parametrize(
    ("name", "last", "blocks"),
    [
        ("preresnet164", "conv3", 54),
        ("wrn28-8", "conv2", 12),
        ("resnext29-8x64d", "bn3", 9),
        pytest.param("pyramidnet110-a270", "bn3", 54, marks=pytest.mark.slow),
        ("imagenet/resnet34", "bn2", 16),
    ],
)
def test_every_residual_block(name: str, last: str, blocks: int) -> None:
    sites = planned(name, "blocks", nn.BatchNorm2d).sites
    assert len(sites) == blocks
    assert all(site.name.split(".")[2] == last for site in sites)


@pytest.mark.parametrize("name", ["xception41", "legacy_xception"])
def test_xception_can_be_built(name: str) -> None:
    pytest.importorskip("timm")
    assert next(hosts.skeleton(f"timm/{name}", num_classes=7).parameters()).is_meta
