"""Tensors of the authors' released modules, under our names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from whatwhere.errors import GateError

if TYPE_CHECKING:
    from whatwhere.gates.gate import Gate

__all__ = ["BAM_KEYS", "CBAM_KEYS", "load_released"]

# released module name -> our module name; parameters and buffers keep theirs
BAM_KEYS: Mapping[str, str] = {
    "channel_att.gate_c.gate_c_fc_0": "channel.reduce",
    "channel_att.gate_c.gate_c_bn_1": "channel.inner_norm",
    "channel_att.gate_c.gate_c_fc_final": "channel.expand",
    "spatial_att.gate_s.gate_s_conv_reduce0": "spatial.inner.0",
    "spatial_att.gate_s.gate_s_bn_reduce0": "spatial.inner.1",
    "spatial_att.gate_s.gate_s_conv_di_0": "spatial.inner.3",
    "spatial_att.gate_s.gate_s_bn_di_0": "spatial.inner.4",
    "spatial_att.gate_s.gate_s_conv_di_1": "spatial.inner.6",
    "spatial_att.gate_s.gate_s_bn_di_1": "spatial.inner.7",
    "spatial_att.gate_s.gate_s_conv_final": "spatial.last",
}
CBAM_KEYS: Mapping[str, str] = {
    "ChannelGate.mlp.1": "channel.branch.reduce",
    "ChannelGate.mlp.3": "channel.branch.expand",
    "SpatialGate.spatial.conv": "spatial.conv",
    "SpatialGate.spatial.bn": "spatial.norm_layer",
}


def load_released(gate: "Gate", state: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Copy a released module's tensors into ``gate``; every check comes before the first change.

    ``num_batches_tracked`` may be missing: releases older than torch 0.4.1 have none.
    """
    call = f"{type(gate).__name__}({gate.channels}).load_released(state)"
    if gate.preset != "released":
        raise GateError(
            f"{call}: the tensors belong to the released code, and this gate computes preset={gate.preset!r}",
            fix=f"build it with {type(gate).__name__}({gate.channels}, preset='released')",
        )
    ours = gate.state_dict()
    renamed = {
        f"{names[module]}.{leaf}" if module in names else key: tensor
        for key, tensor in state.items()
        for module, _, leaf in [key.rpartition(".")]
    }
    spare = {name for name in ours if name == "strength" or name.endswith("num_batches_tracked")}
    missing, surplus = set(ours) - set(renamed) - spare, set(renamed) - set(ours)
    if missing or surplus:
        raise GateError(
            f"{call}: the keys are not those of one released module; nothing was changed",
            got=f"{len(missing)} missing, {len(surplus)} unknown, such as {min(missing | surplus)!r}",
            fix="cut off the prefix that leads to the module, and keep the gate's options at the preset's",
        )
    for name, tensor in renamed.items():
        if tensor.shape != ours[name].shape:
            raise GateError(
                f"{call}: {name} has another shape; nothing was changed",
                got=f"{tuple(tensor.shape)}, not {tuple(ours[name].shape)}",
                fix="build the gate with the channels of the released one",
            )
    gate.load_state_dict(renamed, strict=False)
