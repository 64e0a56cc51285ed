"""Every classification network of torchvision gets its three BAMs, or is refused plainly."""

import pytest
import torch
from torchvision import models
from torchvision.models.regnet import BlockParams

import whatwhere as ww

ATTENTION = ("vit", "swin")
# the smallest of each family; all others are slow
SMALL = {
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
    *("maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18"),
    *("resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1", "vgg11", "vgg11_bn"),
    *("wide_resnet50_2", "vit_b_16", "swin_t", "swin_v2_t"),
}
RUN = {"densenet121", "googlenet", "mobilenet_v2", "resnet18", "shufflenet_v2_x0_5", "vgg11"}
NAMES = [
    pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in models.list_models(module=models)
]
# squeezenet stops at a sixteenth of the input; its three ends of stages lie one halving higher
REDUCTIONS = {"squeezenet1_0": [2, 4, 8], "squeezenet1_1": [2, 4, 8]}


@pytest.fixture
def on_meta(monkeypatch):
    """RegNets compute their widths with tensors, which must be real while the network is not."""
    widths = BlockParams.from_init_params.__func__

    def real(cls, *args, **options):
        with torch.device("cpu"):
            return widths(cls, *args, **options)

    monkeypatch.setattr(BlockParams, "from_init_params", classmethod(real))

    def build(name):
        with torch.device("meta"):
            options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            return models.get_model(name, **options)

    return build


@pytest.mark.parametrize("name", NAMES)
def test_bottlenecks(name, on_meta):
    model = on_meta(name)
    if name.startswith(ATTENTION):
        with pytest.raises(ww.WhatwhereError) as caught:
            ww.plan(model, "bam")
        kind = type(model).__name__
        assert str(caught.value).splitlines()[0].partition("(")[2] == (
            f"{kind}, 'bam', at='bottlenecks'): no map is downsampled after the stem in this network,"
            " as far as its forward shows; nothing was changed"
        )
        return
    plan = ww.plan(model, "bam")
    reductions = [site.reduction for site in plan.sites]
    assert reductions == REDUCTIONS.get(name, [4, 8, 16])
    # unpadded stems lose a few positions
    assert all(abs(size - 224 // r) <= 5 for r, site in zip(reductions, plan.sites, strict=True) for size in site.size)
    assert [s.channels for s in plan.sites] == sorted(s.channels for s in plan.sites)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in RUN else pytest.mark.slow)
        for name in models.list_models(module=models)
        if not name.startswith(ATTENTION)
    ],
)
def test_gated_networks_run(name, on_meta):
    model = on_meta(name).eval()
    plan = ww.attach_(model, "se", at="stages")
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)
    assert len(ww.status(model).gates) == len(plan.sites)
