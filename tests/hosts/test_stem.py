"""The small stem: a 3x3 convolution of stride 1 and no pool, for networks that begin like a ResNet."""

import pytest
import torch
from torch import nn

from whatwhere.errors import HostError
from whatwhere.hosts import build
from whatwhere.hosts.stem import input_channels_


def children(name: str, conv: str, pool: str) -> tuple[nn.Module, nn.Module]:
    model = build(name, num_classes=4, in_channels=2, stem="small").eval()
    with torch.no_grad():
        assert model(torch.randn(1, 2, 32, 32)).shape == (1, 4)
    return model.get_submodule(conv), model.get_submodule(pool)


@pytest.mark.parametrize(
    ("name", "conv", "pool"),
    [
        ("torchvision/resnet18", "conv1", "maxpool"),
        ("torchvision/resnext50_32x4d", "conv1", "maxpool"),
        ("torchvision/densenet121", "features.conv0", "features.pool0"),
        ("torchvision/shufflenet_v2_x0_5", "conv1.0", "maxpool"),
        ("timm/resnet18", "conv1", "maxpool"),
        ("timm/seresnet18", "conv1", "maxpool"),
        ("timm/resnetv2_18", "stem.conv", "stem.pool"),
        ("imagenet/resnet18", "conv1", "maxpool"),
        ("imagenet/resnext50-32x4d", "conv1", "maxpool"),
    ],
    ids=lambda value: value if "/" in value else "",
)
def test_stem_becomes_small(name: str, conv: str, pool: str) -> None:
    if not name.startswith("imagenet/"):
        pytest.importorskip(name.split("/")[0])
    first, second = children(name, conv, pool)
    original = build(name).get_submodule(conv)
    assert isinstance(first, nn.Conv2d)
    assert isinstance(original, nn.Conv2d)
    assert (first.kernel_size, first.stride, first.padding) == ((3, 3), (1, 1), (1, 1))
    assert (first.in_channels, first.out_channels) == (2, original.out_channels)
    assert (first.bias is None) == (original.bias is None)
    assert isinstance(second, nn.Identity)


def test_own_networks_have_it_already() -> None:
    assert repr(build("resnet20", stem="small")) == repr(build("resnet20"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("torchvision/vgg11", "VGG"),
        ("torchvision/mobilenet_v2", "MobileNetV2"),
        ("timm/efficientnet_b0", "EfficientNet"),
        ("timm/resnet26d", "ResNet"),
        ("timm/resnetv2_50x1_bit", "ResNetV2"),
        ("imagenet/mobilenet", "MobileNet"),
    ],
)
def test_no_such_stem(name: str, kind: str) -> None:
    if not name.startswith("imagenet/"):
        pytest.importorskip(name.split("/")[0])
    with pytest.raises(HostError) as caught:
        build(name, stem="small")
    assert str(caught.value) == (
        f"build('{name}', stem='small'): only a strided convolution followed by a max-pool can become a small stem\n"
        f"  got: {kind}, which begins otherwise\n"
        "  fix: stem='standard', or a ResNet, ResNeXt, DenseNet or ShuffleNet"
    )


def test_a_network_without_a_plain_first_convolution_keeps_its_channels() -> None:
    with pytest.raises(HostError) as caught:
        input_channels_(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), 1, "build('x', in_channels=1)")
    assert str(caught.value) == (
        "build('x', in_channels=1): the first layer must be a plain Conv2d for other input channels\n"
        "  got: Sequential, which begins otherwise\n"
        "  fix: in_channels=3, or timm's network of the same kind"
    )
