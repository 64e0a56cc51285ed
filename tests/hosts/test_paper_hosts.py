"""Every network of the papers' tables has the parameters and multiply-accumulates that they print."""

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

import pytest
import torch
from torch import nn

from whatwhere import hosts
from whatwhere.cost import measure

# name, side of the images, parameters; parameters and multiply-accumulates as the BAM and CBAM papers print them
PRINTED = [
    ("resnet50", 32, 23_705_252, ("23.71",), ("1.22",)),
    ("resnet101", 32, 42_697_380, ("42.70",), ("2.44",)),
    ("preresnet164", 32, 1_726_388, ("1.73", "1.726"), ("0.245",)),
    ("wrn28-8", 32, 23_401_012, ("23.40",), ("3.36",)),
    ("wrn28-10", 32, 36_536_884, ("36.54",), ("5.24",)),
    ("resnext29-8x64d", 32, 34_518_948, ("34.52",), ("4.99",)),
    ("resnext29-16x64d", 32, 68_247_460, ("68.25",), ("9.88",)),
    ("densenet100-bc-k12", 32, 800_032, ("0.80",), ("0.29",)),
    ("imagenet/resnet18", 224, 11_689_512, ("11.69",), ("1.81", "1.814")),
    ("imagenet/resnet34", 224, 21_797_672, ("21.80",), ("3.664",)),
    ("imagenet/resnet50", 224, 25_557_032, ("25.56",), ("3.86", "3.858")),
    ("imagenet/resnet101", 224, 44_549_160, ("44.55",), ("7.57", "7.570")),
    ("imagenet/wrn18-1.5", 224, 25_875_816, ("25.88",), ("3.87", "3.866")),
    ("imagenet/wrn18-2.0", 224, 45_618_216, ("45.62",), ("6.70", "6.696")),
    ("imagenet/resnext50-32x4d", 224, 25_028_904, ("25.03",), ("3.77", "3.768")),
    ("imagenet/resnext101-32x4d", 224, 44_177_704, ("44.18",), ("7.508",)),
    ("imagenet/mobilenet", 224, 4_231_976, ("4.23",), ("0.569",)),
    ("imagenet/mobilenet-0.7", 224, 2_298_747, ("2.30",), ("0.283",)),
]


def printed(count: int, unit: str, pattern: str) -> str:
    """``count`` in units, rounded to three decimals and then to those of ``pattern``: the papers' figures of two
    decimals are rounded twice, as 2.4347, 4.9847 and the tables that print three show."""
    thousandth = (Decimal(count) / Decimal(unit)).quantize(Decimal("0.001"), ROUND_HALF_UP)
    return str(thousandth.quantize(Decimal(pattern), ROUND_HALF_UP))


@pytest.mark.parametrize(("name", "side", "parameters", "millions", "billions"), PRINTED)
def test_costs_are_the_printed_ones(
    name: str, side: int, parameters: int, millions: tuple[str, ...], billions: tuple[str, ...]
) -> None:
    classes = 1000 if name.startswith("imagenet/") else 100
    cost = measure(hosts.skeleton(name, num_classes=classes), (1, 3, side, side), training=False)
    assert cost.parameters == parameters
    assert tuple(printed(parameters, "1e6", text) for text in millions) == millions
    assert tuple(printed(cost.macs, "1e9", text) for text in billions) == billions


def test_the_true_preresnet110_is_another_network() -> None:
    cost = measure(hosts.skeleton("preresnet110", num_classes=100), (1, 3, 32, 32), training=False)
    assert cost.parameters == 1_736_372
    assert printed(cost.parameters, "1e6", "0.001") == "1.736"  # the BAM paper prints 1.726


def test_pyramidnet() -> None:
    cost = measure(hosts.skeleton("pyramidnet110-a270", num_classes=10), (1, 3, 32, 32), training=False)
    assert cost.parameters == 28_485_477


@pytest.mark.parametrize(
    ("make", "side", "elsewhere"),
    [
        (hosts.resnet101, 32, 2.510),
        (hosts.preresnet164, 32, 0.248),
        (hosts.resnext29, 32, 5.387),
        (hosts.imagenet.resnet50, 224, 4.089),
        (hosts.imagenet.resnet101, 224, 7.801),
        (hosts.imagenet.resnext50, 224, 4.230),
        (hosts.imagenet.resnext101, 224, 7.970),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_stride_elsewhere_costs_more(make: Callable[..., nn.Module], side: int, elsewhere: float) -> None:
    with torch.device("meta"):
        model = make(1000 if side == 224 else 100, stride_in_1x1=False)
    cost = measure(model, (1, 3, side, side), training=False)
    assert round(cost.macs / 1e9, 3) == elsewhere


def test_mobilenet_on_192_pixels_is_the_same_network() -> None:
    # MobileNet's own paper has 418 million (table 7). The BAM paper prints 0.439.
    cost = measure(hosts.skeleton("imagenet/mobilenet"), (1, 3, 192, 192), training=False)
    assert printed(cost.macs, "1e9", "0.001") == "0.418"
