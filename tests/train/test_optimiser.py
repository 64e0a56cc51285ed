"""Which weights decay, and which optimiser moves them."""

import pytest
import torch
from torch import nn
from train.toy import toy_net

from whatwhere.errors import RunError
from whatwhere.train import Recipe, weight_groups
from whatwhere.train.optimiser import build_optimiser


def test_only_matrices_decay():
    model = toy_net()
    model.strength = nn.Parameter(torch.tensor(0.5))
    decayed, plain = weight_groups(model, 0.01)
    assert decayed["weight_decay"] == 0.01
    assert plain["weight_decay"] == 0.0
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert [names[id(weight)] for weight in decayed["params"]] == ["conv.weight", "head.weight"]
    assert [names[id(weight)] for weight in plain["params"]] == [
        "strength",
        "conv.bias",
        "norm.weight",
        "norm.bias",
        "head.bias",
    ]


def test_or_everything_decays():
    model = toy_net()
    (group,) = weight_groups(model, 0.01, decay_norms=True)
    assert [id(weight) for weight in group["params"]] == [id(weight) for weight in model.parameters()]
    assert group["weight_decay"] == 0.01
    built = build_optimiser(model, Recipe(decay_norms=True))
    assert [group["weight_decay"] for group in built.param_groups] == [5e-4]


def test_frozen_weights_are_left_out():
    model = toy_net()
    model.requires_grad_(False)
    model.head.weight.requires_grad_(True)
    (group,) = weight_groups(model, 0.01)
    assert group["params"][0] is model.head.weight
    model.head.weight.requires_grad_(False)
    with pytest.raises(RunError) as caught:
        weight_groups(model, 0.01)
    assert str(caught.value) == (
        "train(ToyNet): the network has no weight to train\n"
        "  fix: requires_grad_(True) on the weights that training may change"
    )


def test_built_as_the_recipe_says():
    sgd = build_optimiser(toy_net(), Recipe(lr=0.3, momentum=0.8, nesterov=False))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.3, 0.8, False)
    adamw = build_optimiser(toy_net(), Recipe(optimiser="adamw", lr=1e-3))
    assert isinstance(adamw, torch.optim.AdamW)
    assert [group["weight_decay"] for group in adamw.param_groups] == [5e-4, 0.0]
