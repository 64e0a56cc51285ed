"""The layer that a class activation map weighs: found in many networks, and the same with gates and without."""

import pytest
import timm
import torch
import torchvision
from support.awkward import Plain
from torch import nn

import whatwhere as ww
from whatwhere.attach.gated import wrap
from whatwhere.errors import AttachError, HostError
from whatwhere.explain.layer import layers, target_layer
from whatwhere.hosts import build

TORCHVISION = {
    "resnet18": "layer4",
    "resnet50": "layer4",
    "vgg11": "features",
    "vgg11_bn": "features",
    "alexnet": "features",
    "densenet121": "features",
    "mobilenet_v3_small": "features",
    "efficientnet_b0": "features",
    "convnext_tiny": "features",
    "shufflenet_v2_x0_5": "conv5",
    "squeezenet1_1": "classifier.2",
}
TIMM = {
    "resnet10t": "layer4",
    "convnext_atto": "stages",
    "mobilenetv3_small_050": "blocks",
    "efficientnet_lite0": "bn2",
    "regnetx_002": "s4",
}


class Reused(Plain):
    """One ReLU serves the last map and then the head's vectors."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(self.stage3(self.stage2(self.stage1(x))))
        return self.head(self.relu(x.mean((2, 3))))


class HeadOnMaps(nn.Module):
    """The head takes the map itself, so a gate may stand before it, around all of it."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name):
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    assert target_layer(model, (3, 224, 224)) == TORCHVISION[name]


def test_torchvision_inception():
    with torch.device("meta"):
        model = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=False)
    assert target_layer(model, (3, 299, 299)) == "Mixed_7c"


@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    model = timm.create_model(name, pretrained=False)
    assert target_layer(model) == TIMM[name]


def test_own_hosts():
    assert target_layer(build("resnet8", num_classes=10), (3, 32, 32)) == "layer3"


def test_one_position_is_no_map():
    model = torchvision.models.resnet18(weights=None)
    assert target_layer(model, (3, 32, 32)) == "layer3"
    assert target_layer(model, (3, 33, 32)) == "layer4"  # 2 x 1 positions


@pytest.mark.parametrize(
    ("gate", "at"),
    [("bam", "bottlenecks"), ("cbam", "blocks"), ("bam", ["layer4"]), ("cbam", ["layer4.1"]), ("se", ["layer4.1.bn2"])],
)
def test_gates_do_not_change_the_name(gate, at):
    model = torchvision.models.resnet18(weights=None, num_classes=4)
    ww.attach_(model, gate, at=at, input_size=(3, 64, 64))
    assert target_layer(model, (3, 64, 64)) == "layer4"


def test_the_network_itself_is_no_layer():
    assert target_layer(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (3, 16, 16)) == "1"


def test_a_gate_before_the_pooling_does_not_change_the_name():
    model = torchvision.models.resnet18(weights=None)
    model.avgpool = wrap(model.avgpool, nn.Conv2d(512, 512, 1), before=True)
    assert target_layer(model, (3, 64, 64)) == "layer4"


def test_a_gate_before_the_layers_container_does_not_change_the_name():
    model = HeadOnMaps()
    assert target_layer(model, (3, 16, 16)) == "head.1"
    model.head = wrap(model.head, ww.CBAM(8, reduction=2), before=True)
    assert target_layer(model, (3, 16, 16)) == "head.1"
    assert layers(model)["head.1"] is model.head.host[1]


def test_a_module_that_is_called_again_on_vectors_does_not_count():
    assert target_layer(Reused(), (3, 16, 16)) == "stage3"


def test_layers_have_bare_names_and_gated_ones_are_wrappers():
    model = torchvision.models.resnet18(weights=None)
    bare = list(layers(model))
    assert bare == [name for name, _ in model.named_modules() if name]
    ww.attach_(model, "bam", at=["layer3", "layer4.1.bn2"], input_size=(3, 64, 64))
    found = layers(model)
    assert list(found) == bare
    assert found["layer3"] is model.layer3
    assert found["layer3"].gate is not None
    assert found["layer4.1.bn2"] is model.layer4[1].bn2


def test_nothing_is_changed():
    model = torchvision.models.resnet18(weights=None).train()
    before = torch.get_rng_state()
    target_layer(model, (3, 64, 64))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert int(model.bn1.num_batches_tracked) == 0


def test_no_map():
    model = nn.Sequential(nn.Conv2d(3, 8, 4), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(HostError) as caught:
        target_layer(model, (3, 4, 4))
    assert str(caught.value).splitlines() == [
        "target_layer: no module of the network gives a feature map of more than one position",
        "  got: Sequential on images of 4 x 4 pixels",
        "  fix: take larger images, or name the layer",
    ]


def test_a_network_that_does_not_run():
    with pytest.raises(AttachError) as caught:
        target_layer(Plain(), (4, 16, 16))
    assert (
        str(caught.value).splitlines()[0] == "target_layer: the network does not run on this input; nothing was changed"
    )
