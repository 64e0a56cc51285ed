"""``width`` scales every channel count of this package's networks, and 1 changes nothing."""

import pytest
import torch
from torch import nn

from whatwhere import hosts
from whatwhere.hosts.widths import scaled


def parameters(name: str, width: float) -> int:
    return sum(p.numel() for p in hosts.skeleton(name, num_classes=10, width=width).parameters())


def convolutions(name: str, width: float) -> list[nn.Conv2d]:
    return [m for m in hosts.skeleton(name, width=width).modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(
    ("channels", "width", "multiple", "expected"),
    [(64, 1.0, 1, 64), (64, 1.1, 1, 70), (256, 1.1, 4, 280), (16, 0.01, 1, 1), (256, 0.001, 4, 4), (24, 2, 1, 48)],
)
def test_rounding(channels: int, width: float, multiple: int, expected: int) -> None:
    assert scaled(channels, width, multiple) == expected


@pytest.mark.parametrize("name", hosts.names())
def test_wider_has_more_parameters(name: str) -> None:
    assert parameters(name, 0.8) < parameters(name, 1.0) < parameters(name, 1.25)


@pytest.mark.parametrize("name", hosts.names())
def test_every_count_is_scaled(name: str) -> None:
    for plain, wide in zip(convolutions(name, 1.0), convolutions(name, 1.5), strict=True):
        depthwise = 1 < plain.groups == plain.in_channels
        assert wide.groups == (wide.in_channels if depthwise else plain.groups)
        assert abs(wide.out_channels - 1.5 * plain.out_channels) <= 1
        assert wide.kernel_size == plain.kernel_size


@pytest.mark.parametrize("name", ["resnet20", "wrn28-8", "densenet100-bc-k12", "pyramidnet110-a270"])
def test_small_steps_are_possible(name: str) -> None:
    assert 1 < parameters(name, 1.04) / parameters(name, 1.0) < 1.14


@pytest.mark.parametrize("name", ["resnet20", "imagenet/resnext50-32x4d", "imagenet/mobilenet-0.7"])
def test_a_width_of_one_is_the_network_itself(name: str) -> None:
    torch.manual_seed(5)
    plain = hosts.build(name, num_classes=10).state_dict()
    torch.manual_seed(5)
    scaled_by_one = hosts.build(name, num_classes=10, width=1.0).state_dict()
    assert all(torch.equal(plain[key], scaled_by_one[key]) for key in plain)


def test_groups_keep_their_number() -> None:
    grouped = [conv for conv in convolutions("imagenet/resnext50-32x4d", 1.3) if conv.groups > 1]
    assert {conv.groups for conv in grouped} == {32}
    assert sorted({conv.out_channels for conv in grouped}) == [160, 320, 672, 1344]
