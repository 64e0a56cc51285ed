"""Names resolve or say what is near; downloads fail with the fix."""

import sys
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from whatwhere.errors import HostError
from whatwhere.hosts import build, names

NAMES = (
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "preresnet110",
    "preresnet164",
    "wrn28-8",
    "wrn28-10",
    "resnext29-8x64d",
    "resnext29-16x64d",
    "densenet100-bc-k12",
    "pyramidnet110-a270",
    "imagenet/resnet18",
    "imagenet/resnet34",
    "imagenet/resnet50",
    "imagenet/resnet101",
    "imagenet/resnext50-32x4d",
    "imagenet/resnext101-32x4d",
    "imagenet/wrn18-1.5",
    "imagenet/wrn18-2.0",
    "imagenet/mobilenet",
    "imagenet/mobilenet-0.7",
)
OWN = (
    "'resnet8', 'resnet18', 'resnet20', 'resnet50', 'resnet56', 'resnet101', 'resnet110', 'preresnet110', "
    "'preresnet164', 'wrn28-8', 'wrn28-10', 'resnext29-8x64d', 'resnext29-16x64d', 'densenet100-bc-k12', "
    "'pyramidnet110-a270', 'imagenet/resnet18', 'imagenet/resnet34', 'imagenet/resnet50', 'imagenet/resnet101', "
    "'imagenet/resnext50-32x4d', 'imagenet/resnext101-32x4d', 'imagenet/wrn18-1.5', 'imagenet/wrn18-2.0', "
    "'imagenet/mobilenet', 'imagenet/mobilenet-0.7', 'torchvision/NAME' or 'timm/NAME'"
)


def refusal(name: str, **options: Any) -> HostError:
    with pytest.raises(HostError) as caught:
        build(name, **options)
    return caught.value


def first_conv(model: nn.Module) -> nn.Conv2d:
    return next(module for module in model.modules() if isinstance(module, nn.Conv2d))


def test_own_names() -> None:
    assert names() == NAMES


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18", "timm/resnet18.a1_in1k", "resnet18"])
def test_builds_in_training_mode_with_the_classes_and_channels_asked_for(name: str) -> None:
    model = build(name, num_classes=7, in_channels=2)
    assert model.training
    assert first_conv(model).weight.shape[1] == first_conv(model).in_channels == 2
    assert model(torch.randn(2, 2, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_second_classifiers_are_left_out(name: str) -> None:
    pytest.importorskip("torchvision")
    model = build(f"torchvision/{name}", num_classes=3)
    assert model(torch.randn(2, 3, 96, 96)).shape == (2, 3)


@pytest.mark.parametrize("name", ["densenet121", "inception_v3", "vit_b_16", "convnext_tiny", "squeezenet1_1"])
def test_torchvisions_first_convolution_takes_other_channels(name: str) -> None:
    pytest.importorskip("torchvision")
    conv, theirs = first_conv(build(f"torchvision/{name}", in_channels=5)), first_conv(build(f"torchvision/{name}"))
    expected = (theirs.out_channels, 5, *theirs.kernel_size)
    assert tuple(conv.weight.shape) == expected
    assert (conv.stride, conv.padding, conv.bias is None) == (theirs.stride, theirs.padding, theirs.bias is None)


def test_unknown_own_name() -> None:
    assert str(refusal("resnet21")) == (
        f"build('resnet21'): no such network\n  closest: 'resnet20', 'resnet18', 'resnet110'\n  fix: one of {OWN}"
    )


def test_unknown_imagenet_name() -> None:
    assert str(refusal("imagenet/resnet5O")) == (
        "build('imagenet/resnet5O'): no such network\n"
        "  closest: 'imagenet/resnet50', 'imagenet/resnet34', 'imagenet/resnet18'\n"
        f"  fix: one of {OWN}"
    )


def test_unknown_torchvision_name() -> None:
    pytest.importorskip("torchvision")
    error = refusal("torchvision/resnet5O")
    assert error.rule == "build('torchvision/resnet5O'): torchvision has no such network"
    assert error.closest[0] == "torchvision/resnet50"
    assert error.fix == "torchvision.models.list_models() lists them"


@pytest.mark.parametrize(
    ("name", "near", "listing"),
    [("resnet5O", "timm/resnet50", "list_models"), ("resnet50.a1_in2k", "timm/resnet50.a1_in1k", "list_pretrained")],
    ids=["model", "tag"],
)
def test_unknown_timm_name(name: str, near: str, listing: str) -> None:
    pytest.importorskip("timm")
    error = refusal(f"timm/{name}")
    assert error.rule == f"build('timm/{name}'): timm has no such network"
    assert error.closest[0] == near
    assert error.fix == f"timm.{listing}() lists them"


@pytest.mark.parametrize(
    ("name", "prefix", "near"),
    [
        ("keras/x", "keras/", ()),
        ("torchvison/vgg11", "torchvison/", ("torchvision/vgg11",)),
        ("imagnet/resnet18", "imagnet/", ("imagenet/resnet18",)),
    ],
    ids=["other", "misspelt", "own-misspelt"],
)
def test_unknown_prefix_says_which_there_are(name: str, prefix: str, near: tuple[str, ...]) -> None:
    error = refusal(name)
    assert error.rule == f"build('{name}'): no library goes by '{prefix}'"
    assert error.closest == near
    assert error.fix == f"one of {OWN}"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_classes": 0}, "build('resnet20', num_classes=0): num_classes must be at least 1"),
        ({"in_channels": -1}, "build('resnet20', in_channels=-1): in_channels must be at least 1"),
        (
            {"stem": "smal"},
            "build('resnet20', stem='smal'): a stem is 'standard' or 'small'\n  closest: 'small'",
        ),
        (
            {"pretrained": True},
            "build('resnet20', pretrained=True): it has no published weights\n  fix: pretrained=False",
        ),
        ({"width": 0}, "build('resnet20', width=0): width must be a positive number"),
        ({"width": float("nan")}, "build('resnet20', width=nan): width must be a positive number"),
        ({"width": float("inf")}, "build('resnet20', width=inf): width must be a positive number"),
    ],
    ids=["classes", "channels", "stem", "pretrained", "width-zero", "width-nan", "width-inf"],
)
def test_options_it_cannot_take(options: dict[str, Any], text: str) -> None:
    assert str(refusal("resnet20", **options)) == text


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18"])
def test_only_own_networks_are_scaled(name: str) -> None:
    assert str(refusal(name, width=1.1)) == (
        f"build('{name}', width=1.1): only this package's own networks can be scaled\n  fix: width=1.0"
    )


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_library_not_installed(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert str(refusal(f"{library}/resnet18")) == (
        f"build('{library}/resnet18'): {library} is not installed\n  fix: pip install 'whatwhere[lab]'"
    )


def test_torchvision_weights_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("torchvision.models._api")

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(api, "load_state_dict_from_url", unreachable)
    assert str(refusal("torchvision/resnet18", pretrained=True)) == (
        "build('torchvision/resnet18', pretrained=True): the published weights could not be fetched\n"
        "  got: <urlopen error no route to host>\n"
        "  fix: pretrained=False, then load_state_dict from a checkpoint file copied here"
    )


def test_timm_weights_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def unreachable(*_: object, **__: object) -> None:
        raise FileNotFoundError("nothing in the cache\nand no network")

    monkeypatch.setattr(timm, "create_model", unreachable)
    assert str(refusal("timm/resnet18", pretrained=True)) == (
        "build('timm/resnet18', pretrained=True): the published weights could not be fetched\n"
        "  got: nothing in the cache\n"
        "  fix: pretrained=False, then load_state_dict from a checkpoint file copied here"
    )


def test_timm_model_without_published_weights() -> None:
    pytest.importorskip("timm")
    assert str(refusal("timm/coatnet_0_224", pretrained=True)) == (
        "build('timm/coatnet_0_224', pretrained=True): timm publishes no weights for it\n  fix: pretrained=False"
    )


@pytest.mark.parametrize("classes", [1000, 4], ids=["same-classes", "other-classes"])
@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_torchvision_weights_arrive(name: str, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("torchvision.models")
    extra = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    published = models.get_model(name, weights=None, **extra).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: published)
    model = build(f"torchvision/{name}", num_classes=classes, pretrained=True)
    differing = {k for k, v in model.state_dict().items() if not torch.equal(v, published[k])}
    assert differing == (set() if classes == 1000 else {"fc.weight", "fc.bias"})
    assert getattr(model, "transform_input", name == "googlenet") == (name == "googlenet")
