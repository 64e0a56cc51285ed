"""Batch norms folded into the layers before them: which, with what numbers, and back without a trace."""

import copy
import pickle

import pytest
import torch
from folding_nets import Net, shaken
from snapshot import output, same_bits, snapshot
from support.cases import HOSTS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import whatwhere as ww
from whatwhere.attach.folding import fold_norms, unfold_norms

SIZE = {"input_size": (3, 16, 24)}
CLOSE = {torch.bfloat16: 4e-2, torch.float16: 4e-3, torch.float32: 1e-5, torch.float64: 1e-12}


def folded_and_back(model, *images, **planning):
    """Fold, compare outputs, unfold, compare everything; the report."""
    before = snapshot(model)
    with torch.no_grad():
        plain = model(*images)
        report = fold_norms(model, **planning)
        found = model(*images)
        close = CLOSE[images[0].dtype]
        torch.testing.assert_close(found, plain, rtol=close, atol=close)
        assert [key for key, _ in snapshot(model)["state"]] == [key for key, _ in before["state"]]
        assert snapshot(model)["state"] == before["state"]
        assert snapshot(model)["versions"] == before["versions"]
        if report.folded:
            assert not same_bits(found, plain)
            unfold_norms(model)
        assert same_bits(model(*images), plain)
    after = snapshot(model)
    assert after.pop("seen")[: len(before["seen"])] == before.pop("seen")
    assert after == before
    return report


def stage_of(layer, norm, *rest):
    return shaken(nn.Sequential(layer, norm, *rest).double())


class TestNumbers:
    def test_by_hand(self):
        layer, norm = nn.Linear(1, 1), nn.BatchNorm1d(1, eps=0.5)
        for tensor, value in zip(
            (layer.weight, layer.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var),
            (3.0, 5.0, 7.0, 11.0, 13.0, 3.5),
            strict=True,
        ):
            nn.init.constant_(tensor, value)
        model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer, norm).eval()
        assert fold_norms(model, input_size=(1, 4, 4)).folded == {"4": "3"}
        assert layer.folded_weight.item() == 10.5  # 3 * 7 / sqrt(3.5 + 0.5)
        assert layer.folded_bias.item() == -17.0  # (5 - 13) * 3.5 + 11
        assert (layer.weight.item(), layer.bias.item()) == (3.0, 5.0)

    def test_rounded_once(self):
        conv, norm = nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64)
        fold_norms(shaken(nn.Sequential(conv, norm)))
        exact = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        assert same_bits(conv.folded_weight, (conv.weight.double() * exact[:, None, None, None]).float())
        once = (conv.bias.double() - norm.running_mean.double()) * exact + norm.bias.double()
        assert same_bits(conv.folded_bias, once.float())

    @pytest.mark.parametrize("dims", [1, 2, 3])
    @pytest.mark.parametrize("options", [{}, {"groups": 2, "bias": False}, {"groups": 4, "stride": 2, "dilation": 2}])
    @pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
    def test_every_layer(self, kind, options, dims):
        layer = getattr(nn, f"{kind}{dims}d")(4, 8, 3, **options)
        model = stage_of(layer, getattr(nn, f"BatchNorm{dims}d")(8))
        images = torch.randn(2, 4, *[9] * dims, dtype=torch.double)
        assert folded_and_back(model, images, input_size=(4, *[9] * dims)).folded == {"1": "0"}

    @pytest.mark.parametrize("norm", [{"affine": False}, {"momentum": None}, {"eps": 0.3}])
    @pytest.mark.parametrize("layer", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
    def test_every_option(self, layer, norm):
        model = stage_of(nn.Conv2d(3, 8, 3, **layer), nn.BatchNorm2d(8, **norm))
        report = folded_and_back(model, torch.randn(2, 3, 9, 7, dtype=torch.double), input_size=(3, 9, 7))
        assert report.folded == {"1": "0"}

    def test_a_transposed_convolution_still_takes_its_output_size(self):
        class Up(nn.Module):
            def __init__(self):
                super().__init__()
                self.up, self.norm = nn.ConvTranspose2d(3, 4, 3, stride=2), nn.BatchNorm2d(4)

            def forward(self, x):
                return self.norm(self.up(x, output_size=[12, 12]))

        model = shaken(Up().double())
        assert folded_and_back(model, torch.randn(2, 3, 5, 5, dtype=torch.double), input_size=(3, 5, 5)).folded


EVAL = [name for name, case in HOSTS.items() if not case.training]
KEPT = {
    "shared-module": ["mix.1"],
    "pre-activation": ["layer1.0.norm1", "layer1.1.norm1", "layer2.0.norm1", "layer3.0.norm1", "norm"],
}


class TestHosts:
    @pytest.mark.parametrize("name", EVAL)
    def test_awkward_ones(self, name):
        case = HOSTS[name]
        model = case.build()
        norms = [key for key, one in model.named_modules() if isinstance(one, _BatchNorm)]
        planning = {key: value for key, value in case.planning().items() if key != "exclude"}
        report = folded_and_back(model, *case.images(), **planning)
        assert list(report.left) == KEPT.get(name, [])
        assert sorted([*report.folded, *report.left]) == sorted(norms)

    @pytest.mark.parametrize(
        ("name", "folded", "left"),
        [("resnet18", 20, 0), ("mobilenet_v3_small", 34, 0), ("googlenet", 57, 2), ("densenet121", 59, 62)],
    )
    def test_torchvision(self, name, folded, left):
        from torchvision import models

        model = models.get_model(name, **({"init_weights": False} if name == "googlenet" else {}))
        model = shaken(model.double())
        report = folded_and_back(model, torch.randn(1, 3, 64, 64, dtype=torch.double), input_size=(3, 64, 64))
        assert (len(report.folded), len(report.left)) == (folded, left)

    @pytest.mark.parametrize(
        ("name", "folded", "left"),
        [("efficientnet_b0", 49, 0), ("tf_efficientnet_b0", 44, 5), ("regnety_002", 44, 0), ("convnext_atto", 0, 0)],
    )
    def test_timm(self, name, folded, left):
        import timm

        model = shaken(timm.create_model(name).double())
        report = folded_and_back(model, torch.randn(1, 3, 64, 64, dtype=torch.double), input_size=(3, 64, 64))
        assert (len(report.folded), len(report.left)) == (folded, left)

    @pytest.mark.parametrize("name", ["resnet8", "mobilenet", "wrn28", "preresnet110", "densenet100"])
    def test_our_own(self, name):
        from whatwhere import hosts

        model = shaken(getattr(hosts, name)(num_classes=10).double())
        report = folded_and_back(model, torch.randn(1, 3, 32, 32, dtype=torch.double), input_size=(3, 32, 32))
        assert len(report.folded) == {"resnet8": 7, "mobilenet": 27, "wrn28": 13, "preresnet110": 54}.get(name, 48)

    def test_frozen_norms(self):
        from torchvision.ops import FrozenBatchNorm2d

        model = stage_of(nn.Conv2d(3, 8, 3), FrozenBatchNorm2d(8))
        assert folded_and_back(model, torch.randn(2, 3, 9, 9, dtype=torch.double)).folded == {"1": "0"}

    @pytest.mark.parametrize("kind", ["BatchNormAct2d", "FrozenBatchNormAct2d"])
    def test_norms_that_act_still_act(self, kind):
        from timm import layers

        model = stage_of(nn.Conv2d(3, 8, 3), getattr(layers, kind)(8))
        images = torch.randn(2, 3, 9, 9, dtype=torch.double)
        assert folded_and_back(model, images).folded == {"1": "0"}
        fold_norms(model)
        assert (model(images) >= 0).all()

    def test_modules_that_a_host_calls_by_other_references(self):
        class Listed(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
                self.parts = [self.conv, self.norm]

            def forward(self, x):
                for part in self.parts:
                    x = part(x)
                return x

        model = shaken(Listed().double())
        assert folded_and_back(model, torch.randn(2, 3, 9, 9, dtype=torch.double)).folded == {"norm": "conv"}


def gated(gate, at="bottlenecks", **options):
    model = HOSTS["plain"].build()
    ww.attach_(model, gate, at=at, **SIZE, **options)
    return shaken(model)


class TestGates:
    @pytest.mark.parametrize(
        ("gate", "inner"),
        [("bam", 4), ("bam:pools=both", 4), ("bam:final_norm=channels", 4), ("bam:norm=group:reduction=4", 0)],
    )
    def test_norms_inside_gates(self, gate, inner):
        model = gated(gate).double()
        report = folded_and_back(model, torch.randn(2, 3, 16, 24, dtype=torch.double), **SIZE)
        names = ("channel.inner_norm", "spatial.inner.1", "spatial.inner.4", "spatial.inner.7")[:inner]
        assert {f"{place}.gate.{name}" for place in ("stage1.2", "stage2.2") for name in names} <= set(report.folded)
        final = [name for name in report.folded if "final_norm" in name]
        # summed over pools, or given to many channels: not what a layer gave
        assert not any("channel" in name for name in final if "pools" in gate)
        assert not any("spatial" in name for name in final if "channels" in gate)

    def test_the_released_spatial_gate(self):
        model = gated("cbam:preset=released", at=["stage1"]).double()
        report = folded_and_back(model, torch.randn(2, 3, 16, 24, dtype=torch.double), **SIZE)
        assert report.folded["stage1.gate.spatial.norm_layer"] == "stage1.gate.spatial.conv"

    def test_a_gate_between_is_seen_even_while_disabled(self):
        model = gated("se", at=["stage1.0"])
        with ww.disabled(model):
            report = fold_norms(model, **SIZE)
        assert list(report.left) == ["stage1.1"]
        assert report.left["stage1.1"].endswith(" of SE, not what a layer gave")
        assert list(report.folded) == ["stage2.1", "stage3.1"]

    def test_nothing_is_folded_over_the_border_of_a_gate(self):
        model = gated(nn.BatchNorm2d, at=["stage2.0"])
        report = fold_norms(model, **SIZE)
        assert report.left["stage2.0.gate"] == "'stage2.0.host' is on the other side of a gate's border"
        assert report.left["stage2.1"].endswith(" of BatchNorm2d, not what a layer gave")

    @pytest.mark.parametrize("gate", ["bam", "cbam:preset=released"])
    def test_gates_are_disabled_and_detached_as_before(self, gate):
        case = HOSTS["plain"]
        model = gated(gate)
        with ww.disabled(model):
            plain = output(model, case)
        fold_norms(model, **SIZE)
        with ww.disabled(model):
            found = output(model, case)
        torch.testing.assert_close(found, plain)
        ww.detach_(model)
        assert same_bits(output(model, case), found)
        unfold_norms(model)
        assert same_bits(output(model, case), plain)

    def test_saved_gates_are_the_unfolded_ones(self, tmp_path):
        model = gated("bam")
        ww.save_gates(model, tmp_path / "plain")
        fold_norms(model, **SIZE)
        ww.save_gates(model, tmp_path / "folded")
        for name in ("gates.json", "gates.safetensors"):
            assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "folded" / name).read_bytes()
        other = gated("bam")
        for parameter in other.parameters():
            parameter.detach().mul_(1.5)
        ww.save_gates(other, tmp_path / "other")
        ww.load_gates(model, tmp_path / "other")
        found = output(model, HOSTS["plain"])
        unfold_norms(model)
        torch.testing.assert_close(found, output(model, HOSTS["plain"]))


class TestLoading:
    @pytest.mark.parametrize("assign", [False, True])
    @pytest.mark.parametrize("norm_first", [False, True])
    def test_what_is_loaded_is_folded_again(self, norm_first, assign):
        def make(seed):
            torch.manual_seed(seed)
            model = Net()
            if norm_first:
                conv = model.conv
                del model.conv
                model.conv = conv
            return model.eval()

        model, other = make(1), shaken(make(2))
        fold_norms(model)
        model.load_state_dict(other.state_dict(), assign=assign)
        images = torch.randn(2, 3, 8, 8)
        found = model(images)
        torch.testing.assert_close(found, other(images))
        unfold_norms(model)
        assert same_bits(model(images), other(images))

    def test_checkpoints_without_counters(self):
        from torchvision.ops import FrozenBatchNorm2d

        model = nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4)).eval()
        other = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
        fold_norms(model)
        model.load_state_dict(other.state_dict())
        images = torch.randn(2, 3, 8, 8)
        torch.testing.assert_close(model(images), other(images))

    def test_a_checkpoint_that_does_not_fit_is_refused_as_ever(self):
        model = HOSTS["plain"].build()
        state = {key: value for key, value in model.state_dict().items() if key != "stage1.1.weight"}
        fold_norms(model, **SIZE)
        with pytest.raises(RuntimeError, match=r"Missing key.*stage1\.1\.weight"):
            model.load_state_dict(state)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
class TestPythonIntact:
    @pytest.fixture
    def folded(self):
        torch.compiler.reset()
        model = gated("cbam:preset=released", at=".*2")
        fold_norms(model, **SIZE)
        return model

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    def test_copies(self, folded, copied):
        case = HOSTS["plain"]
        before = output(folded, case)
        other = copied(folded)
        assert same_bits(output(other, case), before)
        assert [type(module) for module in other.modules()] == [type(module) for module in folded.modules()]
        unfold_norms(other)
        torch.testing.assert_close(output(other, case), before)
        assert same_bits(output(folded, case), before)
        with pytest.raises(ww.WhatwhereError):
            fold_norms(folded)

    def test_compile_export_and_fx(self, folded):
        case = HOSTS["plain"]
        before = output(folded, case)
        with torch.no_grad():
            found = [torch.compile(folded, fullgraph=True, backend="eager")(*case.images())]
            for strict in (False, True):
                found.append(torch.export.export(folded, case.images(), strict=strict).module()(*case.images()))
            found.append(torch.fx.symbolic_trace(folded)(*case.images()))
        for one in found:  # formulas in a program, kernels outside of it
            torch.testing.assert_close(one, before)

    def test_a_compiled_network_follows(self):
        case = HOSTS["plain"]
        model = case.build()
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        before = output(compiled, case)
        fold_norms(model, **SIZE)
        assert same_bits(output(compiled, case), output(model, case))
        unfold_norms(model)
        assert same_bits(output(compiled, case), before)

    def test_memory_format_and_dtype(self, folded):
        case = HOSTS["channels-last"]
        before = output(folded, case)
        model = folded.to(memory_format=torch.channels_last)
        assert model.stage1[0].folded_weight.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(output(model, case), before)
        assert model.stage1[0](*case.images()).is_contiguous(memory_format=torch.channels_last)
        unfold_norms(model)
        fold_norms(model, **SIZE)
        assert model.stage1[0].folded_weight.is_contiguous(memory_format=torch.channels_last)
        assert {tensor.dtype for tensor in model.half().buffers()} == {torch.float16, torch.int64}
        torch.testing.assert_close(output(model, HOSTS["half"]).float(), before, rtol=2e-2, atol=2e-2)

    def test_shapes_of_the_modules_and_their_tensors(self, folded):
        conv, norm = folded.stage1[0], folded.stage1[1]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert repr(conv).startswith("FoldedConv2d(3, 16")
        assert repr(norm).startswith("FoldedBatchNorm2d(16")
        assert conv.weight is dict(folded.named_parameters())["stage1.0.weight"]

    def test_gradients_of_the_input(self, folded):
        images = HOSTS["plain"].images()[0].requires_grad_()
        folded(images).sum().backward()
        found, images.grad = images.grad, None
        unfold_norms(folded)
        folded(images).sum().backward()
        torch.testing.assert_close(found, images.grad)

    def test_folded_in_inference_mode_and_used_outside(self):
        model = HOSTS["plain"].build()
        with torch.inference_mode():
            fold_norms(model, **SIZE)
        model(HOSTS["plain"].images()[0].requires_grad_()).sum().backward()


def test_a_part_of_a_network_is_unfolded_with_what_belongs_to_it():
    model = shaken(Net())
    images = torch.randn(2, 3, 8, 8)
    before = model(images)
    fold_norms(model)
    unfold_norms(model.norm)
    assert same_bits(model(images), before)
