"""The wrapper is as little in the way as can be."""

import pytest
import torch
from snapshot import FEW, gate_for, output, same_bits, snapshot
from support.cases import HOSTS, host
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import whatwhere as ww
from whatwhere.attach import Gated

SIZE = {"input_size": (3, 16, 24)}


def gated(name="plain", gate="se", at="bottlenecks", **options):
    case = HOSTS[name]
    model = case.build()
    ww.attach_(model, gate_for(gate, case), at=at, **case.planning(), **options)
    return model


@pytest.mark.parametrize("name", HOSTS)
def test_type_modes_and_hooks_of_the_host(name):
    bare, model = HOSTS[name].build(), gated(name, at=".*" if name != "named-gate" else "stage[13].*")
    assert type(model) is type(bare)
    ours = {key: m for key, m in model.named_modules() if not isinstance(m, Gated) and ".gate" not in f".{key}"}
    for key, module in bare.named_modules():
        if "gate" not in key:
            found = model.get_submodule(key)
            inner = found.host if isinstance(found, Gated) else found
            assert (type(inner), inner.training) == (type(module), module.training)
            assert len(inner._forward_hooks) == len(module._forward_hooks)
            assert any(inner is one for one in ours.values())


@pytest.mark.parametrize(("name", "gate"), FEW)
def test_gates_take_dtype_device_and_mode_from_where_they_stand(name, gate):
    case = HOSTS[name]
    model = gated(name, gate, start="identity")
    wrappers = [module for module in model.modules() if isinstance(module, Gated)]
    assert len(wrappers) == len(case.bottlenecks)
    for one in wrappers:
        assert one.training == one.gate.training == one.host.training
        for tensor in one.gate.state_dict().values():
            assert tensor.dtype in (case.dtype, torch.int64)
            assert tensor.device.type == "cpu"
        assert all(p.requires_grad for p in one.gate.parameters())


def test_part_in_eval_mode_has_its_gate_in_eval_mode():
    first, second = ww.status(gated("in-training")).gates
    assert (first.training, second.training) == (True, False)


def test_gates_of_a_host_on_the_meta_device():
    with torch.device("meta"):
        model = HOSTS["plain"].make()
    ww.attach_(model, "bam", **SIZE)
    assert {p.device.type for p in model.parameters()} == {"meta"}


@pytest.mark.parametrize("gate", ["se", "bam", "cbam", "eca", "partial"])
def test_memory_format_passes_through(gate):
    case = HOSTS["channels-last"]
    model = gated("channels-last", gate)
    seen = []
    model.stage1[2].register_forward_hook(lambda module, args, out: seen.append(out))
    output(model, case)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_train_and_eval_reach_the_gates():
    model = gated().train()
    assert all(gate.training for gate in ww.status(model).gates)
    assert not any(gate.training for gate in ww.status(model.eval()).gates)


def test_hooks_on_the_gated_module_see_what_they_did_and_hooks_on_the_wrapper_the_gate():
    case = HOSTS["plain"]
    bare = case.build()
    model = case.build()
    inner, outer = [], []
    model.stage1[2].register_forward_hook(lambda module, args, out: inner.append(out))
    ww.attach_(model, "se", at="bottlenecks", **SIZE)
    model.stage1[2].register_forward_hook(lambda module, args, out: outer.append(out))
    output(model, case)
    with torch.no_grad():
        plain = bare.stage1(*case.images())
    assert same_bits(inner, [plain])
    assert not same_bits(outer, [plain])


class TestAttributes:
    def test_of_the_host_are_read(self):
        model = gated(at="stage1.0|stage1.1")
        assert model.stage1[0].out_channels == 16
        assert model.stage1[0].weight is model.stage1[0].host.weight
        assert isinstance(model.stage1[1].host, _BatchNorm)
        assert model.get_parameter("stage1.0.weight") is model.stage1[0].host.weight
        assert model.get_submodule("stage1.1").num_features == 16

    def test_of_the_host_are_set(self):
        model = gated(at="stage1.1|stage1.0")
        model.stage1[1].momentum = 0.5
        model.stage1[0].weight = nn.Parameter(torch.zeros(16, 3, 3, 3))
        assert model.stage1[1].host.momentum == 0.5
        assert not model.stage1[0].host.weight.any()
        ww.detach_(model)
        assert model.stage1[1].momentum == 0.5

    def test_new_ones_are_the_hosts(self):
        model = gated(at="stage1")
        model.stage1.flag = 3
        ww.detach_(model)
        assert model.stage1.flag == 3

    def test_submodules_are_replaced(self):
        model = gated("in-place-add", at=r"layer1\.0")
        model.layer1[0].relu = nn.GELU()
        ww.detach_(model)
        assert type(model.layer1[0].relu) is nn.GELU

    def test_unknown_ones_are_refused_as_the_host_does(self):
        with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'colour'"):
            gated(at="stage1").stage1.colour  # noqa: B018


class TestContainers:
    def test_index_length_and_walk(self):
        bare, model = host("plain"), gated(at="stage1")
        assert len(model.stage1) == 3
        assert [type(part) for part in model.stage1] == [type(part) for part in bare.stage1]
        assert type(model.stage1[0]) is nn.Conv2d
        assert model.stage1[-1] is model.stage1[2]
        assert [type(part) for part in model.stage1[:2]] == [nn.Conv2d, nn.BatchNorm2d]
        assert model.stage1[1] in model.stage1

    def test_parts_are_set_and_deleted(self):
        model = gated(at="stage1")
        model.stage1[2] = nn.GELU()
        del model.stage1[1]
        ww.detach_(model)
        assert [type(part) for part in model.stage1] == [nn.Conv2d, nn.GELU]

    def test_what_is_no_container_has_no_length(self):
        with pytest.raises(TypeError, match="has no len"):
            len(gated(at=["stage1.0"]).stage1[0])

    def test_a_host_that_indexes_and_walks(self):
        case = HOSTS["indexed"]
        model = gated("indexed", at=["stage2.0", "stage3.1"])
        assert not same_bits(output(model, case), output(case.build(), case))


def test_repr_shows_the_gate():
    assert "(gate): SE(16)" in repr(gated())


class TestFeatures:
    def test_intermediate_layer_getter(self):
        from torchvision.models._utils import IntermediateLayerGetter

        bare, model = host("in-place-add"), gated("in-place-add", at="layer1|layer2")
        images = HOSTS["in-place-add"].images()
        wanted = {"layer1": "one", "layer2": "two"}
        with torch.no_grad():
            plain, found = (IntermediateLayerGetter(m, wanted)(*images) for m in (bare, model))
            one = model.layer1(model.stem(*images))
            two = model.layer2(one)
        assert list(found) == ["one", "two"]
        assert same_bits([found["one"], found["two"]], [one, two])
        assert not same_bits(found["one"], plain["one"])

    @pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
    def test_torchvisions_feature_extractor(self):
        from torchvision.models.feature_extraction import create_feature_extractor

        model = gated("in-place-add", at="layer1|layer2").eval()
        images = HOSTS["in-place-add"].images()
        found = create_feature_extractor(model, ["layer1"])
        with torch.no_grad():
            # formulas in what fx traced, kernels outside of it
            torch.testing.assert_close(found(*images)["layer1"], model.layer1(model.stem(*images)))

    def test_timm_features_only(self):
        import timm

        bare, model = (timm.create_model("resnet18", features_only=True).eval() for _ in range(2))
        model.load_state_dict(bare.state_dict())
        plan = ww.attach_(model, "cbam", at="bottlenecks", input_size=(3, 64, 96))
        assert [site.name for site in plan.sites] == ["layer1.1", "layer2.1", "layer3.1"]
        images = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            plain, found = bare(images), model(images)
            with ww.disabled(model):
                assert same_bits(model(images), plain)
        assert [one.shape for one in found] == [one.shape for one in plain]
        assert same_bits(found[0], plain[0])
        assert not any(same_bits(a, b) for a, b in zip(found[1:], plain[1:], strict=True))
        assert model.feature_info.channels() == bare.feature_info.channels()

    def test_timm_forward_features(self):
        import timm

        model = timm.create_model("resnet18").eval()
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            plain = model.forward_features(images)
            ww.attach_(model, "bam", input_size=(3, 64, 64))
            gates = model.forward_features(images)
            assert not same_bits(gates, plain)
            assert same_bits(model.forward_head(gates), model(images))
        ww.detach_(model)
        with torch.no_grad():
            assert same_bits(model.forward_features(images), plain)


def test_planning_again_after_detaching_finds_the_same():
    model = host("in-place-add")
    first = ww.attach_(model, "cbam", **SIZE)
    ww.detach_(model)
    before = snapshot(model)
    assert str(ww.plan(model, "cbam", **SIZE)) == str(first)
    assert snapshot(model) == before
