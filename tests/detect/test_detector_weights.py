"""Weights for detectors: files of trunks and of whole ones, torchvision's, and what starts fresh or learns then."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("torchvision")

from named_detectors import LITE, SMALL, norms, refusal, saved, shapes
from torchvision import models
from torchvision.models import WeightsEnum
from torchvision.ops import FrozenBatchNorm2d

from whatwhere.detect.building import build, skeleton

OTHER_WEIGHTS = "  fix: weights of this very trunk or detector, and the norm= that they were trained with"


@pytest.mark.parametrize(
    ("name", "trunk"),
    [(SMALL, "resnet18"), ("fasterrcnn-resnet50-c4", "resnet50")],
)
def test_a_file_of_the_trunk(name: str, trunk: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = models.get_model(trunk, weights=None)
    with torch.no_grad():
        other.get_parameter("layer4.1.conv1.weight").fill_(3)
    model = build(f"{name}:weights={saved(other.state_dict(), tmp_path / 'trunk.pth')}", 2)
    own = model.state_dict()
    placed = {key.split("body.")[-1].split("box_head.")[-1].removeprefix("backbone."): own[key] for key in own}
    for key, tensor in other.state_dict().items():
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked"):
            assert torch.equal(placed[key], tensor), key
    assert "FrozenBatchNorm2d" in norms(model)


def test_a_file_of_the_whole_detector(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = build("ssd-resnet8", 2)
    path = saved(first.state_dict(), tmp_path / "all.pth")
    second = build(f"ssd-resnet8:weights={path}", 2)
    assert all(torch.equal(second.state_dict()[key], tensor) for key, tensor in first.state_dict().items())
    without = build(f"ssd-resnet8:weights={path}", 2, weights=False)
    assert not torch.equal(without.get_parameter("head.0.logits.weight"), first.get_parameter("head.0.logits.weight"))
    said = refusal(lambda: build(f"ssd-resnet8:weights={path}", 1))
    assert said == (
        f"build('ssd-resnet8:weights={path}', 1): all.pth does not fit\n"
        "  got: 6 of another shape: head.0.logits.bias [12] for [8], "
        "head.0.logits.weight [12, 32, 3, 3] for [8, 32, 3, 3], head.1.logits.bias [12] for [8], ...\n"
        f"{OTHER_WEIGHTS}"
    )


def test_a_file_that_lacks_one_tensor_and_has_one_more(tmp_path: Path) -> None:
    state = models.resnet18(weights=None).state_dict()
    state["layer9.weight"] = state.pop("layer2.0.conv1.weight")
    path = saved(state, tmp_path / "odd.pth")
    assert refusal(lambda: build(f"{SMALL}:weights={path}", 2)) == (
        f"build('{SMALL}:weights={path}', 2): odd.pth does not fit\n"
        "  got: 1 missing: backbone.body.layer2.0.conv1.weight; 1 unknown: backbone.body.layer9.weight\n"
        f"{OTHER_WEIGHTS}"
    )


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "text.pth"
    path.write_text("no weights")
    said = refusal(lambda: build(f"ssd-resnet8:weights={path}", 2))
    assert said.startswith(f"build('ssd-resnet8:weights={path}', 2): text.pth cannot be read\n  got: ")
    assert said.endswith("\n  fix: torch.save(model.state_dict(), ...), or safetensors")
    torch.save({"model": {}, "epoch": 3, "best": 1, "lr": 0.1}, path)
    assert refusal(lambda: build(f"ssd-resnet8:weights={path}", 2)) == (
        f"build('ssd-resnet8:weights={path}', 2): text.pth is no state dict\n"
        "  got: a dict of model, epoch, best, ...\n  fix: torch.save(model.state_dict(), ...), or safetensors"
    )


def published(monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> dict[str, Tensor]:
    """In place of every download, this model's tensors."""
    state = model.state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *args, **kwargs: state)
    return state


# With 90 classes outputs have the very shapes of torchvision's, and count other classes all the same.
@pytest.mark.parametrize("classes", [2, 90])
@pytest.mark.parametrize(
    ("name", "theirs", "outputs"),
    [
        (LITE, "ssdlite320_mobilenet_v3_large", [f"head.classification_head.module_list.{n}.1" for n in range(6)]),
        ("retinanet-resnet50-fpn", "retinanet_resnet50_fpn", ["head.classification_head.cls_logits"]),
    ],
)
def test_outputs_for_classes_start_fresh_and_are_told(
    name: str, theirs: str, outputs: list[str], classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    other = models.get_model(theirs, weights=None, weights_backbone=None, num_classes=91)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(3)
    state = published(monkeypatch, other)
    with pytest.warns(UserWarning, match="start fresh") as caught:
        model = build(f"{name}:weights=coco", classes)
    (said,) = caught
    text = f"build('{name}:weights=coco', {classes}): these start fresh, not as on COCO: {', '.join(outputs)}"
    assert (str(said.message), said.filename) == (text, __file__)
    own = model.state_dict()
    same = {key for key in own if own[key].shape == state[key].shape and torch.equal(own[key], state[key])}
    assert set(own) - same == {f"{output}.{part}" for output in outputs for part in ("weight", "bias")}


def test_ssdlite_starts_from_imagenet_at_every_tensor_of_its_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    trunk = models.mobilenet_v3_large(weights=None)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.copy_(torch.randn_like(parameter))
    published(monkeypatch, trunk)
    theirs = models.get_model(
        "ssdlite320_mobilenet_v3_large", weights=None, weights_backbone="DEFAULT", num_classes=3
    ).state_dict()
    model = build(f"{LITE}:weights=imagenet", 2)
    own = model.state_dict()
    assert shapes(model) == {key: tuple(tensor.shape) for key, tensor in theirs.items()}
    assert all(torch.equal(own[key], theirs[key]) for key in own if key.startswith("backbone.features."))
    assert shapes(skeleton(f"{LITE}:weights=imagenet", 2)) == shapes(model)
    with torch.no_grad():
        losses = model(
            [torch.rand(3, 64, 64)] * 2,
            [{"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}] * 2,
        )
    assert set(losses) == {"bbox_regression", "classification"}


def test_frozen_norms_of_ssdlite_are_those_of_its_trunk_alone() -> None:
    model = skeleton(f"{LITE}:weights=imagenet:norm=frozen", 2)
    kinds = {
        name.startswith("backbone.features."): type(module)
        for name, module in sorted(model.named_modules())
        if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d)
    }
    assert kinds == {True: FrozenBatchNorm2d, False: nn.BatchNorm2d}
    assert norms(model.get_submodule("backbone.features")) == {"FrozenBatchNorm2d"}
    assert norms(model.get_submodule("backbone.extra")) == norms(model.head) == {"BatchNorm2d"}  # type: ignore[arg-type]


def test_group_norms_behind_loaded_weights_learn() -> None:
    model = skeleton(f"{SMALL}:weights=imagenet:norm=group", 2)
    groups = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert len(groups) == 20
    assert all(parameter.requires_grad for module in groups for parameter in module.parameters())
    assert not model.get_parameter("backbone.body.layer1.0.conv1.weight").requires_grad
    assert model.get_parameter("backbone.body.layer2.0.conv1.weight").requires_grad


def test_a_file_of_a_detector_with_group_norms(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = build("ssd-resnet8:norm=group", 2)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    path = saved(first.state_dict(), tmp_path / "groups.pth")
    second = build(f"ssd-resnet8:norm=group:weights={path}", 2).state_dict()
    assert second.keys() == first.state_dict().keys()
    assert all(torch.equal(second[key], tensor) for key, tensor in first.state_dict().items())
    said = refusal(lambda: build(f"ssd-resnet8:weights={path}", 2))
    assert "running_mean" in said
    assert said.endswith(OTHER_WEIGHTS)


def test_group_norms_are_fresh_behind_a_file_of_batch_norms(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = build("ssd-resnet8", 2)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    path = saved(first.state_dict(), tmp_path / "all.pth")
    second = build(f"ssd-resnet8:norm=group:weights={path}", 2)
    assert norms(second) == {"GroupNorm"}
    fresh = [module for module in second.modules() if isinstance(module, nn.GroupNorm)]
    assert all(torch.equal(module.weight, torch.ones_like(module.weight)) for module in fresh)
    learned = "backbone.layer1.0.conv1.weight"
    assert torch.equal(second.get_parameter(learned), first.get_parameter(learned))


@pytest.mark.parametrize(("name", "eps"), [("fasterrcnn-resnet50-fpn", 0.0), ("fcos-resnet50-fpn", 1e-5)])
def test_norms_trained_without_eps_have_none_with_a_checkpoint_either(name: str, eps: float) -> None:
    model = skeleton(f"{name}:weights=coco", 2)
    assert {module.eps for module in model.modules() if isinstance(module, FrozenBatchNorm2d)} == {eps}


def test_published_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no network\nat all")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
    for weights, name in (("coco", LITE), ("imagenet", SMALL)):
        assert refusal(lambda name=name, weights=weights: build(f"{name}:weights={weights}", 2)) == (
            f"build('{name}:weights={weights}', 2): the published weights could not be fetched\n"
            f"  got: no network\n  fix: the file copied into {torch.hub.get_dir()}/checkpoints, or weights=none"
        )


def test_frozen_norms_are_the_batch_norms_of_eval_mode(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = build(SMALL, 2)
    for module in first.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    path = saved(first.state_dict(), tmp_path / "all.pth")
    frozen = build(f"{SMALL}:weights={path}", 2).train()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), warnings.catch_warnings():
        expected, found = first.eval().backbone(x), frozen.backbone(x)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor)
