"""Gates held against the NumPy oracles: build, randomise, hand the weights over, compare maps, output and statistics.

Each check takes ``spoil``, called on the gate after its weights were read: the mutation tests break a gate there and
expect the check to fail.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from support import oracles
from support.contract import images, randomise_
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from whatwhere import BAM, CBAM, SE, ChannelGate, SpatialGate

__all__ = ["check_bam", "check_cbam", "check_channel", "check_se", "check_spatial"]

Spoil = Callable[[nn.Module], object]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy().copy()


def _layer(module: nn.Module, weight: str, bias: str) -> dict[str, Any]:
    found = {weight: _array(module.weight)}
    return found if module.bias is None else found | {bias: _array(module.bias)}


def _norm(module: nn.Module) -> dict[str, Any] | None:
    if isinstance(module, nn.Identity):
        return None
    found = _layer(module, "gamma", "beta")
    if isinstance(module, _BatchNorm):
        found |= {"mean": _array(module.running_mean), "var": _array(module.running_var)}
    return found


def _mlp(branch: nn.Module) -> dict[str, Any]:
    return {
        **_layer(branch.reduce, "w0", "b0"),
        **_layer(branch.expand, "w1", "b1"),
        "n0": _norm(branch.inner_norm),
        "n1": _norm(branch.final_norm),
    }


def _dilated(branch: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = iter(["reduce", *(f"d{i}" for i in range(9))])
    name = ""
    for module in branch.inner:
        if hasattr(module, "kernel_size"):
            name = next(names)
            found |= _layer(module, f"{name}.w", f"{name}.b")
        elif not isinstance(module, nn.ReLU):
            found[f"{name}.n"] = _norm(module)
    return found | _layer(branch.last, "final.w", "final.b") | {"final.n": _norm(branch.final_norm)}


def _spatial(gate: nn.Module) -> dict[str, Any]:
    found = _layer(gate.conv, "w", "b") | {"n": _norm(gate.norm_layer)}
    return found if gate.squeeze is None else found | _layer(gate.squeeze, "point.w", "point.b")


def _same(found: Tensor | None, wanted: np.ndarray | None, what: str) -> None:
    assert (found is None) == (wanted is None), what
    if found is not None:
        torch.testing.assert_close(
            found.detach(), torch.from_numpy(wanted), atol=1e-9, rtol=1e-9, msg=lambda text: f"{what}: {text}"
        )


def _compare(gate: nn.Module, x: Tensor, wanted: oracles.Maps) -> None:
    found = gate.maps(x)
    _same(found.channel, wanted.channel, "channel map")
    _same(found.spatial, wanted.spatial, "spatial map")
    _same(gate(x), _array(x) * wanted.factor, "output")
    _same(found.factor.expand_as(x), np.broadcast_to(wanted.factor, x.shape).copy(), "factor")


def _built(kind: type[nn.Module], train: bool, size: str, **options: Any) -> tuple[nn.Module, Tensor]:
    gate = randomise_(kind(8, dtype=torch.float64, **options)).train(train)
    return gate, images(gate, 3, size, torch.float64)


def _spoilt(gate: nn.Module, spoil: Spoil | None) -> nn.Module:
    if spoil is not None:
        spoil(gate)
    return gate


def check_bam(*, train: bool = False, size: str = "oblong", spoil: Spoil | None = None, **options: Any) -> None:
    gate, x = _built(BAM, train, size, **{"reduction": 2} | options)
    weights = {
        "channel": gate.channel and _mlp(gate.channel),
        "spatial": gate.spatial and _dilated(gate.spatial),
    }
    names = (
        "combine", "branches", "pools", "norm", "inner_norm", "inner_relu", "final_norm", "dilation", "dilated_convs"
    )  # fmt: skip
    wanted = oracles.bam(_array(x), weights, train=train, **{name: getattr(gate, name) for name in names})
    _compare(_spoilt(gate, spoil), x, wanted)


def check_cbam(*, train: bool = False, size: str = "oblong", spoil: Spoil | None = None, **options: Any) -> None:
    narrow = {} if options.get("branches") == "spatial" else {"reduction": 2}
    gate, x = _built(CBAM, train, size, **narrow | options)
    weights = {
        "channel": gate.channel and _mlp(gate.channel.branch),
        "spatial": gate.spatial and _spatial(gate.spatial),
    }
    wanted = oracles.cbam(
        _array(x),
        weights,
        train=train,
        order=gate.order,
        branches=gate.branches,
        pools=gate.pools,
        described=("max", "avg") if gate.preset == "released" else ("avg", "max"),
        descriptor=gate.descriptor,
        norm=gate.norm,
    )
    _compare(_spoilt(gate, spoil), x, wanted)


def check_channel(*, size: str = "oblong", spoil: Spoil | None = None, **options: Any) -> None:
    gate, x = _built(ChannelGate, True, size, **{"reduction": 2} | options)
    channel = oracles.channel_gate(_array(x), _mlp(gate.branch), pools=gate.pools)
    _compare(_spoilt(gate, spoil), x, oracles.Maps(channel, None, channel))


def check_se(*, size: str = "oblong", spoil: Spoil | None = None, **options: Any) -> None:
    gate, x = _built(SE, True, size, **{"reduction": 2} | options)
    wanted = oracles.se(_array(x), _mlp(gate.branch))
    _compare(_spoilt(gate, spoil), x, wanted)


def check_spatial(*, train: bool = False, size: str = "oblong", spoil: Spoil | None = None, **options: Any) -> None:
    gate, x = _built(SpatialGate, train, size, **options)
    described = ("max", "avg") if gate.preset == "released" else ("avg", "max")
    wanted = oracles.spatial_gate(
        _array(x), _spatial(gate), described=described, descriptor=gate.descriptor, norm=gate.norm, train=train
    )
    _compare(_spoilt(gate, spoil), x, oracles.Maps(None, wanted, wanted))
