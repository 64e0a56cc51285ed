"""The small-image ResNets are the papers': parameters by arithmetic, multiply-accumulates, shapes, initialisation."""

import copy

import pytest
import torch
from torch import Tensor, nn

from whatwhere import hosts
from whatwhere.cost import measure
from whatwhere.hosts.blocks import BasicBlock, Bottleneck, PaddedShortcut


def parameters_of_three_stages(blocks: int, classes: int) -> int:
    """By hand, with free shortcuts: 3x3 convolutions without bias, two numbers a channel for each batch norm."""
    total = 27 * 16 + 2 * 16
    width = 16
    for out in (16, 32, 64):
        total += 9 * width * out + 9 * out * out + 4 * out + (blocks - 1) * (18 * out * out + 4 * out)
        width = out
    return total + 64 * classes + classes


@pytest.mark.parametrize(
    ("name", "blocks", "cited"), [("resnet20", 3, 0.27), ("resnet56", 9, 0.85), ("resnet110", 18, 1.73)]
)
def test_three_stage_parameters_are_the_cited_ones(name: str, blocks: int, cited: float) -> None:
    count = sum(p.numel() for p in hosts.build(name, num_classes=10).parameters())
    assert count == parameters_of_three_stages(blocks, 10)
    assert round(count / 1e6, 2) == cited


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("resnet8", 75_290, 12_239_488),
        ("resnet20", 269_722, 40_551_040),
        ("resnet56", 853_018, 125_485_696),
        ("resnet110", 1_727_962, 252_887_680),
    ],
)
def test_three_stage_costs(name: str, parameters: int, macs: int) -> None:
    cost = measure(hosts.build(name, num_classes=10), (1, 3, 32, 32), training=False)
    assert (cost.parameters, cost.macs) == (parameters, macs)


def test_resnet50_is_the_papers_backbone() -> None:
    cost = measure(hosts.build("resnet50", num_classes=100), (1, 3, 32, 32), training=False)
    # torchvision's ResNet-50, its 7x7 stem and 1000 classes exchanged for a 3x3 stem and 100 classes
    assert cost.parameters == 25_557_032 - (49 - 9) * 3 * 64 - (1000 - 100) * (2048 + 1) == 23_705_252
    assert cost.macs == 1_222_516_736


def test_stride_in_the_3x3_costs_what_the_released_code_costs() -> None:
    cost = measure(hosts.resnet50(100, stride_in_1x1=False), (1, 3, 32, 32), training=False)
    assert cost.parameters == 23_705_252
    assert round(cost.macs / 1e9, 3) == 1.298


def test_resnet18_parameters() -> None:
    count = sum(p.numel() for p in hosts.build("resnet18", num_classes=100).parameters())
    assert count == 11_689_512 - (49 - 9) * 3 * 64 - (1000 - 100) * (512 + 1) == 11_220_132


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_modules_are_named_as_in_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    theirs = models.get_model(name, weights=None).state_dict()
    assert list(hosts.build(name).state_dict()) == list(theirs)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_computes_what_torchvision_computes(name: str) -> None:
    theirs = pytest.importorskip("torchvision.models").get_model(name, weights=None, num_classes=7).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    ours = hosts.resnet18(7) if name == "resnet18" else hosts.resnet50(7, stride_in_1x1=False)
    ours.eval().load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=0)


def test_padded_shortcut_subsamples_and_appends_zeros() -> None:
    x = torch.randn(2, 3, 5, 4)
    out = PaddedShortcut(3, 8, 2)(x)
    assert out.shape == (2, 8, 3, 2)
    assert torch.equal(out[:, :3], x[:, :, ::2, ::2])
    assert not out[:, 3:].any()


def test_residual_branch_ends_in_its_own_batch_norm_called_once() -> None:
    model = hosts.build("resnet20", num_classes=10)
    calls: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    model(torch.randn(2, 3, 8, 8))
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert sorted(calls) == sorted(norms)


@pytest.mark.parametrize("last", ["bn2", "bn3"])
def test_block_adds_the_shortcut_after_its_last_norm(last: str) -> None:
    block = (BasicBlock if last == "bn2" else Bottleneck)(8, 8).eval()
    norm = getattr(block, last)
    nn.init.zeros_(norm.weight)
    nn.init.constant_(norm.bias, 0.25)
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(block(x), torch.relu(x + 0.25))


def test_convolutions_start_normal_with_fan_out() -> None:
    model = hosts.build("resnet18", num_classes=10)
    weight = model.layer4[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert all(bool((m.weight == 1).all()) for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_copies_and_exports() -> None:
    model = hosts.build("resnet20", num_classes=10).eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected: Tensor = model(images)
        assert torch.equal(copy.deepcopy(model)(images), expected)
        program = torch.export.export(model, (images,)).module()
        torch.testing.assert_close(program(images), expected)
