"""Where the named places, names, expressions and predicates lead in networks whose answers are known."""

from functools import partial

import pytest
import timm
import torch
import torchvision
from support.awkward import stage
from support.cases import HOSTS
from torch import nn

import whatwhere as ww
from whatwhere import hosts


def meta(build, *args, **options):
    with torch.device("meta"):
        return build(*args, **options)


def names(model, at=None, exclude=None, gate="se", size=(3, 224, 224)):
    plan = ww.plan(model, gate, at=at, exclude=exclude, input_size=size)
    return [site.name if site.side == "output" else f"before {site.name}" for site in plan.sites]


def maps(model, at="bottlenecks", size=(3, 224, 224)):
    return [(s.name, s.channels, s.size) for s in ww.plan(model, "se", at=at, input_size=size).sites]


BOTTLENECKS = {
    "resnet18": [("layer1.1", 64, 56), ("layer2.1", 128, 28), ("layer3.1", 256, 14)],
    "resnet50": [("layer1.2", 256, 56), ("layer2.3", 512, 28), ("layer3.5", 1024, 14)],
    "mobilenet_v2": [("features.3", 24, 56), ("features.6", 32, 28), ("features.13", 96, 14)],
    "densenet121": [
        ("features.denseblock1", 256, 56),
        ("features.denseblock2", 512, 28),
        ("features.denseblock3", 1024, 14),
    ],
    "vgg16": [("features.15", 256, 56), ("features.22", 512, 28), ("features.29", 512, 14)],
    "googlenet": [("conv3", 192, 56), ("inception3b", 480, 28), ("inception4e", 832, 14)],
}


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_bottlenecks(name):
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    model = meta(torchvision.models.get_model, name, **options)
    assert maps(model) == [(site, channels, (size, size)) for site, channels, size in BOTTLENECKS[name]]


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (hosts.resnet20, [("layer1.2", 16, 32), ("layer2.2", 32, 16)]),
        (hosts.resnet8, [("layer1.0", 16, 32), ("layer2.0", 32, 16)]),
        (hosts.resnet18, [("layer1.1", 64, 32), ("layer2.1", 128, 16), ("layer3.1", 256, 8)]),
        (hosts.resnet50, [("layer1.2", 256, 32), ("layer2.3", 512, 16), ("layer3.5", 1024, 8)]),
    ],
    ids=["resnet20", "resnet8", "resnet18", "resnet50"],
)
def test_bottlenecks_of_networks_for_small_images(build, found):
    assert maps(meta(build), size=(3, 32, 32)) == [(name, channels, (size, size)) for name, channels, size in found]


@pytest.mark.parametrize(("stages", "sites"), [(3, 2), (4, 3)])
def test_one_site_less_than_stages(stages, sites):
    model = nn.Sequential(stage(3, 8), *[stage(8, 8, 2) for _ in range(stages - 1)])
    assert len(names(model, "bottlenecks", size=(3, 64, 48))) == sites
    assert len(names(model, "stages", size=(3, 64, 48))) == stages


@pytest.mark.parametrize("size", [(96, 160), (225, 224), (97, 63)], ids=str)
def test_the_sites_do_not_depend_on_the_size(size):
    model = meta(torchvision.models.resnet18)
    assert names(model, "bottlenecks", size=(3, *size)) == ["layer1.1", "layer2.1", "layer3.1"]


class TestStages:
    def test_of_a_resnet(self):
        assert names(meta(torchvision.models.resnet18), "stages") == ["layer1.1", "layer2.1", "layer3.1", "layer4.1"]

    def test_of_a_densenet(self):
        assert names(meta(torchvision.models.densenet121), "stages")[-1] == "features.norm5"

    @pytest.mark.parametrize("name", ["vgg16", "alexnet"])
    def test_a_pool_that_keeps_the_size_hides_nothing(self, name):
        found = names(meta(torchvision.models.get_model, name), "stages")
        assert len(found) == 4

    def test_a_module_carries_one_gate_and_the_plan_says_what_it_cannot_place(self):
        model = HOSTS["functional-relu"].build()
        assert names(model, "stages", size=(3, 16, 24)) == ["before conv2", "before conv3"]
        plan = ww.plan(model, "se", at="stages", input_size=(3, 16, 24))
        assert plan.unplaced == 1
        assert str(plan).splitlines()[-1] == "not placed: 1 such maps have no module of their own"


class TestTransitions:
    def test_of_a_densenet(self):
        assert maps(meta(torchvision.models.densenet121), "transitions") == [
            ("features.denseblock1", 256, (56, 56)),
            ("features.transition1", 128, (28, 28)),
            ("features.denseblock2", 512, (28, 28)),
            ("features.transition2", 256, (14, 14)),
            ("features.denseblock3", 1024, (14, 14)),
            ("features.transition3", 512, (7, 7)),
        ]

    def test_of_a_vgg_around_its_pools(self):
        assert names(meta(torchvision.models.vgg16), "transitions") == [
            *("features.15", "features.16", "features.22", "features.23", "features.29", "features.30")
        ]

    def test_are_never_inside_a_shortcut(self):
        found = names(meta(torchvision.models.resnet18), "transitions")
        assert [name for name in found if "downsample" in name] == []


class TestBlocks:
    def test_of_a_basic_resnet(self):
        found = names(meta(torchvision.models.resnet18), "blocks")
        assert found == [f"layer{i}.{j}.bn2" for i in range(1, 5) for j in range(2)]

    def test_of_a_bottleneck_resnet(self):
        found = names(meta(torchvision.models.resnet50), "blocks")
        assert found == [f"layer{i}.{j}.bn3" for i, n in enumerate((3, 4, 6, 3), 1) for j in range(n)]

    def test_of_a_mobilenet(self):
        found = names(meta(torchvision.models.mobilenet_v2), "blocks")
        assert len(found) == 10
        assert all(name.endswith(".conv.3") for name in found)

    def test_of_small_resnets(self):
        found = names(meta(hosts.resnet20), "blocks", size=(3, 32, 32))
        assert found == [f"layer{i}.{j}.bn2" for i in range(1, 4) for j in range(3)]


class TestNames:
    model = staticmethod(partial(meta, torchvision.models.resnet18))

    def test_regex_matches_whole_names(self):
        assert names(self.model(), r"layer\d") == ["layer1", "layer2", "layer3", "layer4"]
        assert names(self.model(), r"layer[12]\.\d") == ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]
        assert names(self.model(), "layer1") == ["layer1"]

    @pytest.mark.parametrize("kind", [list, tuple])
    def test_lists_in_the_order_of_the_forward(self, kind):
        assert names(self.model(), kind(["layer3", "layer1"])) == ["layer1", "layer3"]

    def test_lists_with_a_name_twice(self):
        assert names(self.model(), ["layer1", "layer1"]) == ["layer1"]

    def test_predicate(self):
        assert names(self.model(), lambda s: s.channels == 512 and s.name.endswith("bn2")) == [
            *("layer4.0.bn2", "layer4.1.bn2")
        ]
        assert names(self.model(), lambda s: s.reduction == 2) == ["conv1", "bn1", "relu"]

    def test_either_name_of_a_module_with_two(self):
        model = HOSTS["tied"].build()
        assert names(model, "alias.1", size=(3, 16, 24)) == names(model, "stage2.1", size=(3, 16, 24))
        assert names(model, ["alias.1", "stage2.1"], size=(3, 16, 24)) == ["stage2.1"]

    def test_the_papers_own_place_is_the_default(self):
        model, size = meta(hosts.resnet8), (3, 32, 32)
        assert names(model, gate="bam", size=size) == names(model, "bottlenecks", size=size)
        for gate in ("se", "cbam", "channel", "spatial", ww.CBAM, partial(ww.SE, reduction=4)):
            assert names(model, gate=gate, size=size) == names(model, "blocks", size=size)
        assert names(model, gate=timm.layers.EcaModule, size=size) == names(model, "bottlenecks", size=size)
        assert names(model, gate=partial(ww.BAM, reduction=8), size=size) == names(model, "bottlenecks", size=size)

    @pytest.mark.parametrize(
        "exclude",
        ["layer2.*", ["layer2.1"], ("layer2.1",), lambda site: site.channels == 128],
        ids=["regex", "list", "tuple", "predicate"],
    )
    def test_exclude_wins(self, exclude):
        model = self.model()
        assert names(model, "bottlenecks", exclude) == ["layer1.1", "layer3.1"]
        assert names(model, ["layer1.1", "layer2.1", "layer3.1"], exclude) == ["layer1.1", "layer3.1"]

    def test_exclude_matches_whole_names(self):
        assert len(names(self.model(), "bottlenecks", "layer2")) == 3


@pytest.mark.parametrize(
    ("gate", "at", "parameters"),
    [("bam:preset=released", None, 25_915_099), ("cbam:preset=released", None, 28_089_624)],
    ids=["bam", "cbam"],
)
def test_parameters_of_the_papers_resnet50(gate, at, parameters):
    model = meta(torchvision.models.resnet50)
    plan = ww.attach_(model, gate, at=at, input_size=(3, 224, 224))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert plan.parameters == parameters - 25_557_032
