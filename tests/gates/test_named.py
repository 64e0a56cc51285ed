"""Gates by name, and any module started at the identity."""

import pytest
import torch
from torch import nn

from whatwhere.errors import GateError
from whatwhere.gates import BAM, CBAM, NAMED, Blended, named


def test_every_name_builds_its_gate() -> None:
    assert {name: type(named(name)(32)) for name in NAMED} == dict(NAMED)


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("bam:reduction=8:combine=product", BAM(32, reduction=8, combine="product")),
        ("bam:pools=avg+lse:inner_norm=false", BAM(32, pools=("avg", "lse"), inner_norm=False)),
        ("cbam:preset=released:order=parallel", CBAM(32, preset="released", order="parallel")),
        ("cbam:kernel_size=3:mlp_bias=True", CBAM(32, kernel_size=3, mlp_bias=True)),
    ],
    ids=str,
)
def test_options_follow_the_name(text: str, gate: nn.Module) -> None:
    assert repr(named(text)(32)) == repr(gate)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bma",
            "gate 'bma': there is no gate 'bma'\n  closest: 'bam', 'cbam'\n"
            "  fix: use one of se, bam, cbam, channel, spatial, or give any callable channels -> nn.Module",
        ),
        (
            "bam:combin=sum",
            "gate 'bam:combin=sum': bam has no option 'combin'\n  closest: 'combine'\n"
            "  fix: write name:option=value:option=value",
        ),
        (
            "bam:product",
            "gate 'bam:product': 'product' sets nothing\n  fix: write name:option=value:option=value",
        ),
        (
            "bam:start=identity",
            "gate 'bam:start=identity': bam has no option 'start'\n  fix: write name:option=value:option=value",
        ),
        ("bam:reduction=8:reduction=4", "gate 'bam:reduction=8:reduction=4': reduction is set twice\n  got: 8 and '4'"),
    ],
    ids=["name", "option", "no-value", "not-the-gates", "twice"],
)
def test_what_no_gate_is_called_is_refused(text: str, message: str) -> None:
    with pytest.raises(GateError) as caught:
        named(text)
    assert str(caught.value) == message


def test_a_wrong_value_is_refused_when_the_gate_is_built() -> None:
    with pytest.raises(GateError) as caught:
        named("bam:combine=sun")(32)
    assert str(caught.value).splitlines()[0] == "BAM(32, combine='sun'): combine must be one of 'sum', 'product', 'max'"


class Halves(nn.Module):
    """Multiplies by a half that can be learnt, in place or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))
        self.in_place = in_place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(self.share) if self.in_place else x * self.share


@pytest.mark.parametrize("in_place", [False, True], ids=["plain", "in-place"])
def test_any_module_starts_at_the_identity_and_learns(in_place: bool) -> None:
    gate, x = Blended(Halves(in_place)), torch.tensor([1.0, -0.0, 3.0, -2.5]).view(1, 4, 1, 1)
    given = x.clone()
    assert torch.equal(gate(given).view(torch.int32), x.view(torch.int32))
    assert torch.equal(given, x)
    for _ in range(2):
        gate(x.clone()).square().sum().backward()
        with torch.no_grad():
            for parameter in gate.parameters():
                parameter -= 0.001 * parameter.grad
                parameter.grad = None
    assert gate.strength != 0
    assert gate.module.share != 0.5


def test_at_full_strength_it_is_the_module() -> None:
    gate, x = Blended(Halves(False)), torch.randn(2, 3, 4, 5)
    gate.strength.data.fill_(1.0)
    torch.testing.assert_close(gate(x), 0.5 * x)
