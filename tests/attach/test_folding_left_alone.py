"""Which batch norms are not folded, what the report says of them, and what is refused."""

import pytest
import torch
from folding_nets import Net, shaken
from support.cases import UNCOPYABLE
from torch import nn
from torch.nn import functional as F

import whatwhere as ww
from whatwhere.attach.folding import fold_norms, unfold_norms


class Norm(nn.BatchNorm2d):
    pass


class Both:
    def __init__(self, one, other):
        self.one, self.other = one, other


def returned_in_an_object(net, x):
    y = net.conv(x)
    return Both(net.norm(y), y)


def kept(net, x):
    net.last = net.conv(x)
    return net.norm(net.last)


def added_in_place(net, x):
    y = net.conv(x)
    z = net.norm(y)
    y += 1
    return z


def twice_convolved(net, x):
    return net.norm(net.conv(x)) + net.conv(x)


def returned(net, x):
    y = net.conv(x)
    return {"map": y, "normed": net.norm(y)}


def tied():
    net = Net(lambda net, x: net.norm(net.conv(x)) + net.twin(x), twin=nn.Conv2d(3, 4, 3, padding=1))
    net.twin.weight = net.conv.weight
    return net


def hooked(name, kind="register_forward_hook"):
    net = Net(conv=nn.Sequential(nn.Conv2d(3, 4, 3)))
    getattr(net.get_submodule(name), kind)(lambda *seen: None)
    return net


def patched():
    net = Net()
    net.norm.forward = net.norm.forward
    return net


def parametrised():
    net = Net()
    nn.utils.parametrizations.weight_norm(net.conv)
    return net


def too_large_for_half():
    net = Net().half()
    nn.init.constant_(net.norm.weight, 6e4)
    nn.init.constant_(net.norm.running_var, 1e-4)
    return net


def frozen_in_half():
    from torchvision.ops import FrozenBatchNorm2d

    net = Net(norm=FrozenBatchNorm2d(4))
    net.conv.half()
    net.run = lambda net, x: net.norm(net.conv(x.half()))
    return net


def of_another_dimension():
    head = nn.Sequential(nn.Flatten(2), nn.Linear(256, 4))
    return Net(lambda net, x: net.norm(net.head(net.conv(x))), norm=nn.BatchNorm1d(4), head=head)


LEFT = {
    "a-subclass": (lambda: Net(norm=Norm(4)), "a Norm may do more than a plain batch norm"),
    "no-statistics": (lambda: Net(norm=nn.BatchNorm2d(4, track_running_stats=False)), "it has no running statistics"),
    "never-called": (lambda: Net(lambda net, x: net.conv(x)), "it is called 0 times in one forward"),
    "norm-called-twice": (
        lambda: Net(lambda net, x: net.norm(net.norm(net.conv(x)))),
        "it is called 2 times in one forward",
    ),
    "by-keyword": (lambda: Net(lambda net, x: net.norm(input=net.conv(x))), "it is not called with one map"),
    "of-the-input": (
        lambda: Net(lambda net, x: net.conv(net.norm(x)), norm=nn.BatchNorm2d(3)),
        "it reads the network's input",
    ),
    "after-a-relu": (
        lambda: Net(lambda net, x: net.norm(F.relu(net.conv(x)))),
        "it reads a 'relu' of Net, not what a layer gave",
    ),
    "after-a-view": (
        lambda: Net(lambda net, x: net.norm(net.conv(x).expand(-1, 4, -1, -1))),
        "it reads a 'expand' of Net, not what a layer gave",
    ),
    "functional": (
        lambda: Net(lambda net, x: net.norm(F.conv2d(x, net.conv.weight))),
        "it reads a 'convolution' of Net, not what a layer gave",
    ),
    "parametrised": (parametrised, "it reads a 'convolution' of ParametrizedConv2d, not what a layer gave"),
    "other-dimension": (of_another_dimension, "what it normalises are not the channels of 'head.1'"),
    "other-dtype": (frozen_in_half, "it makes torch.float32 of torch.float16"),
    "layer-called-twice": (lambda: Net(twice_convolved), "'conv' is called 2 times in one forward"),
    "read": (
        lambda: Net(lambda net, x: net.norm(y := net.conv(x)) + y),
        "what 'conv' gave is read, returned or kept elsewhere, too",
    ),
    "written": (lambda: Net(added_in_place), "what 'conv' gave is read, returned or kept elsewhere, too"),
    "returned": (lambda: Net(returned), "what 'conv' gave is read, returned or kept elsewhere, too"),
    "in-an-object": (
        lambda: Net(returned_in_an_object),
        "what 'conv' gave is read, returned or kept elsewhere, too",
    ),
    "kept": (lambda: Net(kept), "what 'conv' gave is read, returned or kept elsewhere, too"),
    "hook-on-the-layer": (
        lambda: hooked("conv.0"),
        "'conv.0' has hooks, or a forward put upon it, which see what 'conv.0' gave",
    ),
    "hook-around-the-layer": (
        lambda: hooked("conv"),
        "'conv' has hooks, or a forward put upon it, which see what 'conv.0' gave",
    ),
    "hook-on-the-norm": (
        lambda: hooked("norm", "register_forward_pre_hook"),
        "'norm' has hooks, or a forward put upon it, which see what 'conv.0' gave",
    ),
    "backward-hook": (
        lambda: hooked("conv.0", "register_full_backward_hook"),
        "'conv.0' has hooks, or a forward put upon it, which see what 'conv.0' gave",
    ),
    "patched": (patched, "'norm' has hooks, or a forward put upon it, which see what 'conv' gave"),
    "tied": (tied, "'conv' shares its tensors with another module"),
    "meta": (lambda: Net().to("meta"), "'conv' is on the meta device and has no numbers"),
    "overflow": (too_large_for_half, "with it, 'conv' would not be finite in torch.float16"),
}


@pytest.mark.parametrize(("make", "reason"), LEFT.values(), ids=LEFT)
def test_what_is_left_alone_and_why(make, reason):
    model = make().eval()
    report = fold_norms(model, input_size=(3, 16, 16))
    assert (report.folded, report.left) == ({}, {"norm": reason})
    assert not any("Folded" in type(module).__name__ for module in model.modules())


def test_the_report():
    model = shaken(Net(norm=Norm(4)))
    assert str(fold_norms(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), model).eval())).splitlines() == [
        "1 of 2 batch norms of Sequential folded",
        "norm    folded into",
        "1       0",
        "norm    left alone, for",
        "2.norm  a Norm may do more than a plain batch norm",
    ]
    assert str(fold_norms(nn.Conv2d(3, 3, 1).eval())) == "Conv2d has no batch norms to fold"


def said(call, *args, **options):
    with pytest.raises(ww.WhatwhereError) as caught:
        call(*args, **options)
    return str(caught.value).splitlines()


class TestRefusals:
    def test_in_training_mode(self):
        assert said(fold_norms, Net()) == [
            "fold_norms(Net): norms are folded in eval mode; nothing was changed",
            "  got: in training mode: 3, the first 'the network itself'",
            "  fix: model.eval() first",
        ]
        model = Net().eval()
        model.norm.train()
        assert said(fold_norms, model)[1] == "  got: in training mode: 1, the first 'norm'"

    def test_twice(self):
        model = Net().eval()
        fold_norms(model)
        assert said(fold_norms, model) == [
            "fold_norms(Net): norms of the network are folded; nothing was changed",
            "  got: 1 folded, the first 'norm'",
            "  fix: unfold_norms(model) first",
        ]

    def test_unfolding_what_is_not_folded(self):
        assert said(unfold_norms, Net()) == [
            "unfold_norms(Net): no norm of the network is folded",
            "  fix: fold_norms(model) folds them",
        ]

    def test_training_a_folded_network(self):
        model = Net().eval()
        fold_norms(model)
        model.train()
        assert said(model, torch.randn(2, 3, 8, 8)) == [
            "FoldedConv2d: a network with folded norms runs in eval mode only",
            "  fix: unfold_norms(model) before training, fold_norms(model) afterwards",
        ]
        assert said(model.norm, torch.randn(2, 4, 8, 8))[0].startswith("FoldedBatchNorm2d: ")
        unfold_norms(model)
        model(torch.randn(2, 3, 8, 8)).sum().backward()
        assert model.norm.num_batches_tracked == 1

    def test_what_is_no_network(self):
        assert said(fold_norms, "resnet18") == [
            "fold_norms(str): a network is an nn.Module written in Python; nothing was changed",
            "  got: str",
        ]

    def test_what_cannot_be_traced(self):
        assert said(fold_norms, Net().eval(), input_size=(5, 16, 16))[0] == (
            "fold_norms(Net): the network does not run on this input; nothing was changed"
        )
        assert said(fold_norms, UNCOPYABLE["lock"].build())[0] == (
            "fold_norms(KeepsLock): the network cannot be copied, and nothing is run on the network itself; "
            "nothing was changed"
        )
