"""This package's networks run, learn, and compute what their sources and other libraries compute."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from whatwhere import hosts
from whatwhere.hosts.preactivation import PreBasicBlock, PreBottleneck
from whatwhere.hosts.pyramidnet import PyramidBlock


@pytest.mark.parametrize("name", hosts.names())
@pytest.mark.parametrize("size", [(32, 32), (17, 9)], ids=["square", "odd"])
def test_shapes_and_gradients(name: str, size: tuple[int, int]) -> None:
    model = hosts.build(name, num_classes=5, in_channels=1, width=0.13)
    logits = model(torch.randn(2, 1, *size))
    assert logits.shape == (2, 5)
    logits.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("name", hosts.names())
def test_convolutions_and_norms_start_as_in_the_released_code(name: str) -> None:
    model = hosts.build(name, num_classes=5, width=0.5)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.bias is None for conv in convs)
    conv = max(convs, key=lambda conv: conv.weight.numel())
    fan_out = conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1]
    assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(bool((norm.weight == 1).all()) and not norm.bias.any() for norm in norms)


def test_weights_drawn_with_a_seed_do_not_change() -> None:
    torch.manual_seed(0)
    model = hosts.build("resnet20", num_classes=10)
    drawn = [model.conv1.weight[0, 0, 0], model.layer3[2].conv2.weight[63, 63, 2], model.fc.weight[9, :3]]
    expected = [
        [-0.110679, -0.046765, 0.035326],
        [-0.008302, -0.006687, -0.006884],
        [-0.011999, -0.027946, -0.066664],
    ]
    torch.testing.assert_close(torch.stack(drawn), torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (hosts.imagenet.resnet18, "resnet18"),
        (hosts.imagenet.resnet34, "resnet34"),
        (hosts.imagenet.resnet50, "resnet50"),
        (hosts.imagenet.resnet101, "resnet101"),
        (hosts.imagenet.resnext50, "resnext50_32x4d"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_torchvisions_checkpoints_load_strictly_and_compute_the_same(
    ours: Callable[..., nn.Module], theirs: str
) -> None:
    models = pytest.importorskip("torchvision.models")
    published = models.get_model(theirs, weights=None).eval()
    options = {} if theirs in ("resnet18", "resnet34") else {"stride_in_1x1": False}
    model = ours(**options).eval()
    model.load_state_dict(published.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        torch.testing.assert_close(model(images), published(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "theirs"), [("resnet18", "resnet18"), ("resnet50", "resnet50"), ("resnext50-32x4d", "resnext50_32x4d")]
)
def test_named_imagenet_networks_take_torchvisions_checkpoints(name: str, theirs: str) -> None:
    models = pytest.importorskip("torchvision.models")
    published = models.get_model(theirs, weights=None).state_dict()
    hosts.build(f"imagenet/{name}").load_state_dict(published, strict=True)


def test_densenet_computes_what_torchvisions_class_computes() -> None:
    models = pytest.importorskip("torchvision.models")
    theirs = models.DenseNet(12, (16, 16, 16), 24, num_classes=7).eval()
    theirs.features.conv0 = nn.Conv2d(3, 24, 3, padding=1, bias=False)
    theirs.features.norm0 = theirs.features.relu0 = theirs.features.pool0 = nn.Identity()
    ours = hosts.densenet100(7).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_mobilenet_computes_what_timms_computes() -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("mobilenetv1_100", num_classes=7, act_layer=nn.ReLU).eval()
    ours = hosts.mobilenet(7).eval()
    # timm registers the layers in the same order under other names
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)), strict=True)
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_wide_resnet_by_its_formula() -> None:
    model = hosts.wrn28(7, widening=1).double().eval()
    images = torch.randn(2, 3, 9, 12, dtype=torch.double)
    x: Tensor = model.conv1(images)
    for part in (model.layer1, model.layer2, model.layer3):
        for block in part:
            active = torch.relu(block.bn1(x))
            shortcut = x if block.downsample is None else block.downsample(active)
            x = shortcut + block.conv2(torch.relu(block.bn2(block.conv1(active))))
    x = torch.relu(model.bn(x)).mean((2, 3))
    torch.testing.assert_close(model(images), x @ model.fc.weight.T + model.fc.bias)


@pytest.mark.parametrize("kind", [PreBasicBlock, PreBottleneck, PyramidBlock])
def test_the_way_past_a_block_is_clean(kind: type[nn.Module]) -> None:
    block = kind(8, 8).eval()
    last = max((m for m in block.children() if isinstance(m, nn.Conv2d)), key=list(block.children()).index)
    nn.init.zeros_(last.weight)
    x = torch.randn(2, 8, 5, 4)
    assert torch.equal(block(x), x)


def test_pre_activation_projects_the_activated_map() -> None:
    block = PreBottleneck(4, 8, 2).eval()
    nn.init.zeros_(block.conv3.weight)
    x = torch.randn(2, 4, 5, 4)
    assert torch.equal(block(x), block.downsample(torch.relu(block.bn1(x))))


def test_pyramid_block_averages_and_appends_zeros() -> None:
    block = PyramidBlock(3, 5, 2).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 3, 4, 6)
    out = block(x)
    torch.testing.assert_close(out[:, :3], x.unflatten(3, (3, 2)).unflatten(2, (2, 2)).mean((3, 5)))
    assert not out[:, 3:].any()


def test_pyramidnets_channels_grow_evenly() -> None:
    model = hosts.skeleton("pyramidnet110-a270", num_classes=100)
    counts = [block.conv1.out_channels for part in (model.layer1, model.layer2, model.layer3) for block in part]
    assert counts == list(range(21, 287, 5))


@pytest.mark.parametrize(
    ("name", "channels"),
    [("imagenet/mobilenet-0.7", (22, 44, 89, 179, 358, 716)), ("imagenet/mobilenet", (32, 64, 128, 256, 512, 1024))],
)
def test_mobilenets_channels(name: str, channels: tuple[int, ...]) -> None:
    convs = [module for module in hosts.skeleton(name).modules() if isinstance(module, nn.Conv2d)]
    assert tuple(dict.fromkeys(conv.out_channels for conv in convs)) == channels
