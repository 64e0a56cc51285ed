"""BAM keeps no normalised map for backward, and whatever is done to it, its gradients are those of torch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.contract import images, randomise_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import whatwhere as ww
from whatwhere.gates import thrift


def made(seed: int = 0, **options: Any) -> nn.Module:
    return randomise_(ww.BAM(32, reduction=4, dtype=torch.float64, **options), seed)


def gradients(gate: nn.Module, x: Tensor, call: Callable[..., Tensor] | None = None) -> dict[str, Tensor]:
    """By input and by every parameter that has one."""
    x = x.clone().requires_grad_()
    gate.zero_grad()
    ((call or gate)(x) * torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)).sum().backward()
    return {"x": x.grad, **{n: p.grad.clone() for n, p in gate.named_parameters() if p.grad is not None}}


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")


def silu(gate: nn.Module) -> None:
    gate.spatial.inner[2] = nn.SiLU()


def dropped(gate: nn.Module) -> None:
    torch.manual_seed(3)
    gate.spatial.inner[2] = nn.Dropout(0.5)


def patched(gate: nn.Module) -> None:
    norm = gate.spatial.inner[1]
    norm.forward = lambda z: 3 * nn.BatchNorm2d.forward(norm, z) + 1


def hooked(gate: nn.Module) -> None:
    gate.spatial.inner[1].register_forward_hook(lambda module, given, out: 2 * out)


def reflected(gate: nn.Module) -> None:
    gate.spatial.inner[3].padding_mode = "reflect"
    gate.spatial.inner[3]._reversed_padding_repeated_twice = [1] * 4
    gate.spatial.inner[3].dilation = (1, 1)


def frozen(gate: nn.Module) -> None:
    gate.spatial.inner[1].requires_grad_(False)
    gate.spatial.inner[3].weight.requires_grad_(False)


def evaluated(gate: nn.Module) -> None:
    gate.eval()


CHANGES = [None, silu, dropped, patched, hooked, reflected, frozen, evaluated]


@pytest.mark.parametrize("options", [{}, {"norm": "group"}, {"inner_relu": False}, {"spatial_dims": 1}], ids=str)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change and change.__name__)
def test_gradients(change: Callable[[nn.Module], None] | None, options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if (change is patched and "norm" in options) or (change is reflected and "spatial_dims" in options):
        pytest.skip("the change is for another gate")
    if options == {"inner_relu": False} and change in (silu, dropped, reflected):
        pytest.skip("its layers are counted otherwise")
    found = []
    for known in (thrift._known, lambda *_: False):
        monkeypatch.setattr(thrift, "_known", known)
        gate = made(**options)
        if change is not None:
            change(gate)
        found.append(gradients(gate, images(gate, 3, "tall", torch.float64)))
    same(*found)


def test_parameters_given_for_one_call() -> None:
    gate, other = made(0), made(1)
    x = images(gate, 3, "tall", torch.float64)
    given = {name: value.detach().clone().requires_grad_() for name, value in other.named_parameters()}
    out = torch.func.functional_call(gate, given, (x,))
    found = torch.autograd.grad(out.square().sum(), given.values())
    wanted = torch.autograd.grad(other(x).square().sum(), list(other.parameters()))
    for one, another in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-9, atol=1e-9)


def test_parameters_exchanged_before_backward() -> None:
    gate, x = made(), images(made(), 3, "tall", torch.float64)
    wanted = gradients(gate, x)["x"]
    x = x.requires_grad_()
    out = gate(x)
    gate.load_state_dict(made(1).state_dict(), assign=True)
    gate.spatial.inner[1].eps = 1.0
    gate.eval()
    (out * torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)).sum().backward()
    torch.testing.assert_close(x.grad, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["spatial.inner.1.bias", "spatial.inner.1.weight", "spatial.inner.3.weight"])
def test_parameters_changed_before_backward_are_refused(name: str) -> None:
    gate = made()
    out = gate(images(gate, 3, "tall", torch.float64))
    with torch.no_grad():
        gate.get_parameter(name).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_keeps_nothing_inside(reentrant: bool) -> None:
    gate = made()
    x = images(gate, 3, "tall", torch.float64)
    wanted = gradients(gate, x)
    same(gradients(gate, x, lambda x: checkpoint(gate, x, use_reentrant=reentrant)), wanted)
    seen: list[Any] = []
    import weakref

    gate.spatial.inner[0].register_forward_hook(lambda module, given, out: seen.append(weakref.ref(out)))
    out = checkpoint(gate, x.requires_grad_(), use_reentrant=reentrant)
    assert [ref() for ref in seen] == [None]
    del out


def test_second_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for known in (thrift._known, lambda *_: False):
        monkeypatch.setattr(thrift, "_known", known)
        gate = made()
        x = images(gate, 3, "tall", torch.float64).requires_grad_()
        (slope,) = torch.autograd.grad(gate(x).square().sum(), x, create_graph=True)
        slope.square().sum().backward()
        found.append({"x": x.grad, **{n: p.grad for n, p in gate.named_parameters()}})
    same(*found)


def test_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for known in (thrift._known, lambda *_: False):
        monkeypatch.setattr(thrift, "_known", known)
        gate = made().float()
        with torch.autocast("cpu", torch.bfloat16):
            found.append(gradients(gate, images(gate, 3, "tall")))
    for name, value in found[0].items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, found[1][name], rtol=5e-2, atol=0.3)
