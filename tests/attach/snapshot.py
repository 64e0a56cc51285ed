"""Everything about a host that planning, or a failed attach, must leave as it was."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from support.cases import HOSTS, Host
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import whatwhere as ww

__all__ = ["CASES", "FEW", "gate_for", "output", "same_bits", "same_output", "snapshot", "unlike"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs", "_state_dict_hooks")

_GATES = ("se", "bam", "cbam", "eca", "partial")
# (host, gate) by readable ids; ECA is for maps of two dimensions only
CASES = [(host, gate) for host, what in HOSTS.items() for gate in _GATES if gate != "eca" or what.spatial_dims == 2]
# where the gate hardly matters: every host once, every gate once, and batch norms in the dtypes that are touchy
FEW = [
    case for case in CASES if case[1] == "se" or case[0] == "plain" or case in (("half", "bam"), ("in-training", "bam"))
]


def gate_for(name: str, host: Host) -> str | Callable[[int], nn.Module]:
    """What stands for the gate in a call of attach_."""
    if name == "eca":
        from timm.layers import EcaModule

        return EcaModule
    return partial(ww.CBAM, reduction=4, spatial_dims=host.spatial_dims) if name == "partial" else name


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Modules, tensors, hooks, modes and the random state, comparable with ``==``."""
    modules = dict(model.named_modules(remove_duplicate=False))
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    state = model.state_dict()
    return {
        "modules": [(name, id(module), type(module), module.training) for name, module in modules.items()],
        "hooks": {name: [list(getattr(module, kind)) for kind in _HOOKS] for name, module in modules.items()},
        "tensors": [(name, id(t), t.requires_grad, t.dtype, t.stride(), t._version, t.grad) for name, t in tensors],
        "state": [(key, _bytes(value)) for key, value in state.items()],
        "versions": dict(state._metadata),  # type: ignore[attr-defined]
        "seen": list(getattr(model, "seen", ())),
        "random": torch.get_rng_state().tolist(),
    }


def same_bits(one: object, other: object) -> bool:
    """Whether two outputs agree in every bit, shape, dtype and layout."""
    ours, theirs = tree_leaves(one), tree_leaves(other)
    return len(ours) == len(theirs) and all(
        (a.shape, a.dtype, a.stride(), _bytes(a)) == (b.shape, b.dtype, b.stride(), _bytes(b))
        for a, b in zip(ours, theirs, strict=True)
    )


def output(model: nn.Module, host: Host) -> Any:
    """What the host gives for its images."""
    with torch.no_grad():
        return model(*host.images())


def same_output(model: nn.Module, host: Host, before: object) -> bool:
    """Whether the network still gives exactly that."""
    return same_bits(output(model, host), before)


def unlike(gate: nn.Module) -> nn.Module:
    """The gate, moved away from where it starts, so that it shows."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in gate.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            parameter.add_(0.5 * noise.to(parameter.dtype))
    return gate
