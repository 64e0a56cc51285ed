"""Published networks in a host with gates give what they gave where they came from."""

import pytest
import torch
from released_networks import ReleasedResNet, as_pytorchcv, trained_looking
from torch import nn

import whatwhere as ww
from whatwhere import hosts
from whatwhere.hub import load_released

PLACES = {"bam": "bottlenecks", "cbam": "blocks"}


def gated(depth, gate, classes=10, **options) -> nn.Module:
    model = hosts.build(f"torchvision/resnet{depth}", num_classes=classes, **options)
    ww.attach_(model, f"{gate}:preset=released", at=PLACES[gate])
    return model.eval()


def same_outputs(theirs, ours, size=48) -> None:
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        wanted = theirs(x)
        assert wanted.std() > 1e-3
        torch.testing.assert_close(ours(x), wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())


def sums(state) -> list[float]:
    return sorted(value.double().sum().item() for value in state.values())


@pytest.mark.parametrize("gate", ["bam", "cbam"])
@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_the_released_code(depth, gate, tmp_path) -> None:
    theirs = trained_looking(ReleasedResNet(depth, gate))
    file = tmp_path / "RESNET.pth"
    state = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"epoch": 90, "arch": "resnet", "state_dict": state, "best_prec1": 77.6, "optimizer": {}}, file)
    ours = gated(depth, gate)
    loaded = load_released(ours, file)
    same_outputs(theirs, ours)
    assert sums(ours.state_dict()) == sums(state)
    assert {one.source for one in loaded.moved} == set(state)
    assert {one.target for one in loaded.moved} == set(ours.state_dict())
    assert all(one.shape == tuple(state[one.source].shape) for one in loaded.moved)
    assert loaded.unused == ("epoch", "arch", "best_prec1", "optimizer")
    assert loaded.missing == loaded.notes == ()


@pytest.mark.parametrize("gate", ["bam", "cbam"])
def test_the_small_images_network(gate, tmp_path) -> None:
    theirs = trained_looking(ReleasedResNet(50, gate, classes=100, small=True))
    torch.save(theirs.state_dict(), tmp_path / "cifar.pth")
    ours = gated(50, gate, 100, stem="small")
    load_released(ours, tmp_path / "cifar.pth")
    same_outputs(theirs, ours, size=16)


@pytest.mark.parametrize("gate", ["bam", "cbam"])
def test_a_file_older_than_batch_counters(gate, tmp_path) -> None:
    theirs = trained_looking(ReleasedResNet(18, gate))
    old = {key: value for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    ours = gated(18, gate)
    loaded = load_released(ours, tmp_path / "old.pth")
    same_outputs(theirs, ours)
    counters = [key for key in ours.state_dict() if key.endswith("num_batches_tracked")]
    assert sorted(loaded.missing) == sorted(counters)
    assert str(loaded).endswith(f"not in the file, and left as they were: {len(counters)} batch counters")


@pytest.mark.parametrize("gate", ["bam", "cbam"])
@pytest.mark.parametrize("depth", [18, 50])
def test_pytorchcvs_names(depth, gate, tmp_path) -> None:
    theirs = trained_looking(ReleasedResNet(depth, gate))
    state = as_pytorchcv(theirs.state_dict())
    torch.save(state, tmp_path / "cv.pth")
    ours = gated(depth, gate)
    loaded = load_released(ours, tmp_path / "cv.pth")
    same_outputs(theirs, ours)
    assert (loaded.layout, len(loaded.moved)) == ("pytorchcv", len(state))


@pytest.mark.parametrize("name", ["bam_resnet18", "cbam_resnet18", "seresnet18", "seresnet50b"])
def test_pytorchcv_itself(name, tmp_path) -> None:
    models = pytest.importorskip("pytorchcv.model_provider", reason="pytorchcv is not a dependency")
    theirs = trained_looking(models.get_model(name, num_classes=10)).double()
    torch.save(theirs.state_dict(), tmp_path / "cv.pth")
    ours = hosts.build(f"torchvision/{name.rpartition('_')[2].removeprefix('se').rstrip('b')}", num_classes=10)
    gate = {"b": "bam:preset=released", "c": "cbam:preset=released", "s": "se"}[name[0]]
    ww.attach_(ours, gate)
    load_released(ours.double(), tmp_path / "cv.pth")
    x = torch.randn(1, 3, 224, 224, dtype=torch.double)
    with torch.no_grad():
        wanted = theirs(x)
        torch.testing.assert_close(ours.eval()(x), wanted, rtol=1e-6, atol=1e-8 * wanted.abs().max().item())


def _timm(name, **options) -> nn.Module:
    timm = pytest.importorskip("timm")
    return trained_looking(timm.create_model(name, num_classes=10, **options))


def _cbam_of_timm(name) -> nn.Module:
    return _timm(name, block_args={"attn_layer": "cbam"})


def _se_with_eight_units(channels) -> nn.Module:
    return ww.SE(channels, reduction={64: 8}.get(channels, 16))


TIMM = {
    "seresnet50": (lambda: _timm("seresnet50"), "torchvision/resnet50", "se"),
    "seresnet18": (lambda: _timm("seresnet18"), "torchvision/resnet18", _se_with_eight_units),
    "seresnext": (lambda: _timm("seresnext50_32x4d"), "torchvision/resnext50_32x4d", "se"),
    "cbam": (lambda: _cbam_of_timm("resnet18"), "torchvision/resnet18", "cbam:norm=batch"),
    "timm's host": (lambda: _cbam_of_timm("resnet50"), "timm/resnet50", "cbam:norm=batch"),
}


@pytest.mark.parametrize(("make", "host", "gate"), TIMM.values(), ids=TIMM)
def test_timm(make, host, gate, tmp_path) -> None:
    from safetensors.torch import save_file

    theirs = make()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = hosts.build(host, num_classes=10)
    ww.attach_(ours, gate, at="blocks")
    loaded = load_released(ours.eval(), tmp_path / "model.safetensors")
    same_outputs(theirs, ours)
    assert (loaded.layout, len(loaded.moved)) == ("timm", len(theirs.state_dict()))


@pytest.mark.parametrize(
    ("name", "host"),
    [("legacy_seresnet50", "imagenet/resnet50"), ("legacy_seresnext50_32x4d", "torchvision/resnext50_32x4d")],
)
def test_timms_legacy_networks_in_hosts_with_their_pool_and_stride(name, host, tmp_path) -> None:
    theirs = _timm(name)
    torch.save(theirs.state_dict(), tmp_path / "legacy.pth")
    ours = hosts.build(host, num_classes=10)
    ours.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    ww.attach_(ours, "se", at="blocks")
    assert load_released(ours.eval(), tmp_path / "legacy.pth").layout == "timm's legacy_seresnet"
    same_outputs(theirs, ours)


def test_pytorchcvs_se_leaves_the_stride_open(tmp_path) -> None:
    host = hosts.build("torchvision/resnet50", num_classes=10)
    ww.attach_(host, "se", at="blocks")
    state = {}
    for key, tensor in trained_looking(host).state_dict().items():
        block, _, rest = key.partition(".bn3.gate.branch.")
        if rest:
            renamed = rest.replace("reduce", "conv1").replace("expand", "conv2")
            stage, unit = block.removeprefix("layer").split(".")
            tensor = tensor[..., None, None] if tensor.ndim == 2 else tensor
            state[f"features.stage{stage}.unit{int(unit) + 1}.se.{renamed}"] = tensor
        else:
            state |= as_pytorchcv({key: tensor})
    torch.save(state, tmp_path / "se.pth")
    fresh = hosts.build("torchvision/resnet50", num_classes=10)
    ww.attach_(fresh, "se", at="blocks")
    loaded = load_released(fresh.eval(), tmp_path / "se.pth")
    assert loaded.notes == (
        "pytorchcv has such networks with the stride in conv1 and in conv2; this host has it in conv2",
    )
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(fresh(x), host(x))


def test_gates_may_stand_at_the_stage_or_before_the_next(tmp_path) -> None:
    theirs = trained_looking(ReleasedResNet(18, "bam"))
    torch.save(theirs.state_dict(), tmp_path / "bam.pth")
    ours = hosts.build("torchvision/resnet18", num_classes=10)
    ww.attach_(ours, "bam:preset=released", at=["layer1", "layer2", "layer3"])
    load_released(ours.eval(), tmp_path / "bam.pth")
    same_outputs(theirs, ours)


def test_the_report_is_a_table(tmp_path) -> None:
    torch.save({"epoch": 1, "state_dict": ReleasedResNet(18, "bam").state_dict()}, tmp_path / "bam.pth")
    lines = str(load_released(gated(18, "bam"), tmp_path / "bam.pth")).splitlines()
    file = tmp_path / "bam.pth"
    assert lines[0] == f"{file}: 218 tensors in the layout of the released code, gate bam:preset=released"
    assert lines[1].split() == ["in", "the", "file", "in", "the", "network", "shape"]
    assert lines[2].split() == ["conv1.weight", "conv1.weight", "64x3x7x7"]
    moved = {line.split()[0]: line.split()[1:] for line in lines[2:-1]}
    assert moved["bam1.channel_att.gate_c.gate_c_fc_0.weight"] == ["layer1.1.gate.channel.reduce.weight", "4x64"]
    assert moved["bn1.num_batches_tracked"] == ["bn1.num_batches_tracked", "1"]
    assert lines[-1] == "in the file and not used: epoch"


def test_training_goes_on_from_there(tmp_path) -> None:
    """Mode, dtype and identity of the parameters stay: an optimiser made before still holds them."""
    torch.save(ReleasedResNet(18, "cbam").state_dict(), tmp_path / "cbam.pth")
    ours = gated(18, "cbam").train().double()
    before = list(ours.parameters())
    load_released(ours, tmp_path / "cbam.pth")
    assert ours.training
    assert all(one is other and one.dtype == torch.double for one, other in zip(before, ours.parameters(), strict=True))
