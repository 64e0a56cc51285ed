"""A randomised network: nothing learnt is left, everything else is."""

import pytest
import torch
from torch import Tensor, nn

from whatwhere.attach import attach_
from whatwhere.explain.randomising import randomised
from whatwhere.gates import CBAM


class Tied(nn.Module):
    """Two layers that share a weight, a norm, a gate, and a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(6, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(6)
        self.gate = CBAM(6)
        self.scale = nn.Parameter(torch.linspace(0.5, 2, 6).view(6, 1, 1))
        self.head = nn.Linear(6, 4)
        self.head.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gate(self.norm(self.second(self.first(x).relu())) * self.scale).mean((2, 3)))


def trained() -> Tied:
    """With statistics that a step left, gradients, and modes that differ."""
    model = Tied()
    model(torch.randn(8, 6, 7, 7) * 3 + 1).sum().backward()
    model.norm.eval()
    return model


IMAGES = torch.linspace(-1, 1, 4 * 6 * 5 * 5).sin().view(4, 6, 5, 5)


def test_every_parameter_is_shuffled() -> None:
    model = trained()
    other = randomised(model)
    for (name, old), (_, new) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(new.flatten().sort().values, old.flatten().sort().values)
        constant = old.unique().numel() == 1
        assert torch.equal(old, new) == constant, name
    assert not torch.allclose(model.eval()(IMAGES), other.eval()(IMAGES), atol=1e-3)


def test_shuffled_is_without_memory_of_the_order() -> None:
    model = nn.Linear(100, 100)
    old, new = model.weight.detach().flatten(), randomised(model).weight.detach().flatten()
    assert abs(torch.corrcoef(torch.stack([old, new]))[0, 1]) < 4 / 100


def test_the_seed_decides() -> None:
    model = trained()
    states = [randomised(model, seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["first.weight"], states[2]["first.weight"])
    assert torch.equal(states[0]["first.weight"], randomised(model).state_dict()["first.weight"])


def test_everything_but_the_values_stays() -> None:
    model = trained().to(memory_format=torch.channels_last)
    model.head.double()
    other = randomised(model)
    assert type(other) is Tied
    assert other.second.weight is other.first.weight
    assert [module.training for module in other.modules()] == [module.training for module in model.modules()]
    for old, new in zip(model.parameters(), other.parameters(), strict=True):
        assert new is not old
        assert new.grad is None
        assert (new.shape, new.dtype, new.device, new.stride()) == (old.shape, old.dtype, old.device, old.stride())
        assert (new.requires_grad, new.is_leaf) == (old.requires_grad, True)
    for old, new in zip(model.buffers(), other.buffers(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("images", [None, IMAGES])
def test_the_original_and_chance_are_left_alone(images: Tensor | None) -> None:
    model, chance = trained(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    randomised(model, images=images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert model.first.weight.grad is not None
    assert torch.equal(torch.get_rng_state(), chance)


def test_statistics_are_those_of_the_new_network() -> None:
    model = trained()
    model.norm.momentum = 0.03
    other = randomised(model, images=IMAGES)
    with torch.no_grad():
        read = other.second(other.first(IMAGES).relu())
    assert torch.allclose(other.norm.running_mean, read.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(other.norm.running_var, read.var((0, 2, 3)), rtol=1e-4)
    assert other.norm.momentum == 0.03
    assert [module.training for module in other.modules()] == [module.training for module in model.modules()]
    assert all(parameter.grad is None for parameter in other.parameters())
    plain = randomised(model)
    assert torch.equal(plain.first.weight, other.first.weight)
    assert not torch.allclose(plain.norm.running_mean, other.norm.running_mean, atol=1e-3)


def test_dropout_is_off_while_statistics_are_taken() -> None:
    model, images = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)), torch.rand(8, 3)
    other = randomised(model, images=images)
    assert torch.allclose(other[1].running_mean, images.mean(0))


def test_attached_gates_are_shuffled_and_keep_their_strength() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3))
    attach_(model, "cbam", at=["0"], start="identity", input_size=(3, 16, 16))
    state = model.state_dict()
    strength = next(name for name in state if name.endswith("strength"))
    state[strength].fill_(0.7)
    other = randomised(model).state_dict()
    assert other.keys() == state.keys()
    assert other[strength].item() == pytest.approx(0.7)
    gate = [name for name in state if ".gate." in name and name.endswith("weight")]
    assert gate
    assert not any(torch.equal(state[name], other[name]) for name in gate)
