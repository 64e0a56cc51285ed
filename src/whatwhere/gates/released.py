"""Tensors of the authors' released modules, and of pytorchcv's and timm's, under our names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from whatwhere.errors import GateError

if TYPE_CHECKING:
    from whatwhere.gates.gate import Gate

__all__ = [
    "BAM_KEYS",
    "CBAM_KEYS",
    "PYTORCHCV_BAM_KEYS",
    "PYTORCHCV_CBAM_KEYS",
    "PYTORCHCV_SE_KEYS",
    "TIMM_CBAM_KEYS",
    "TIMM_SE_KEYS",
    "load_released",
]

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
# pytorchcv computes what the released code does, under names of its own
PYTORCHCV_BAM_KEYS: Mapping[str, str] = {
    "ch_att.init_fc.fc": "channel.reduce",
    "ch_att.init_fc.bn": "channel.inner_norm",
    "ch_att.final_fc": "channel.expand",
    "sp_att.init_conv.conv": "spatial.inner.0",
    "sp_att.init_conv.bn": "spatial.inner.1",
    "sp_att.dil_convs.conv1.conv": "spatial.inner.3",
    "sp_att.dil_convs.conv1.bn": "spatial.inner.4",
    "sp_att.dil_convs.conv2.conv": "spatial.inner.6",
    "sp_att.dil_convs.conv2.bn": "spatial.inner.7",
    "sp_att.final_conv": "spatial.last",
}
PYTORCHCV_CBAM_KEYS: Mapping[str, str] = {
    "ch_gate.mlp.fc1": "channel.branch.reduce",
    "ch_gate.mlp.fc2": "channel.branch.expand",
    "sp_gate.conv.conv": "spatial.conv",
    "sp_gate.conv.bn": "spatial.norm_layer",
}
PYTORCHCV_SE_KEYS: Mapping[str, str] = {"conv1": "branch.reduce", "conv2": "branch.expand"}
# timm's CBAM describes positions in the paper's order, [avg; max], and its perceptron has no biases
TIMM_CBAM_KEYS: Mapping[str, str] = {
    "channel.fc1": "channel.branch.reduce",
    "channel.fc2": "channel.branch.expand",
    "spatial.conv.conv": "spatial.conv",
    "spatial.conv.bn": "spatial.norm_layer",
}
TIMM_SE_KEYS: Mapping[str, str] = {"fc1": "branch.reduce", "fc2": "branch.expand"}


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
