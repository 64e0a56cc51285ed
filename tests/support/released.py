"""What the authors' released modules compute, in NumPy, from a state dict under their own names.

Written apart from ``oracles`` (windows instead of taps, moments by hand) so that the two can contradict each other.
One deliberate departure: the released BAM averages over an H x H square, we average over the whole map.
"""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["bam", "bam_state", "cbam", "cbam_state"]

State = dict[str, torch.Tensor]


class _Maker:
    """Random layers appended to a state dict, in the order in which the released module lists them."""

    def __init__(self, seed: int) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.draw)

    def layer(self, name: str, *shape: int, bias: bool = True) -> None:
        fan_in = int(np.prod(shape[1:]))
        self.state[f"{name}.weight"] = self.normal(*shape) / fan_in**0.5
        if bias:
            self.state[f"{name}.bias"] = 0.3 * self.normal(shape[0])

    def batch_norm(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = 1 + 0.3 * self.normal(channels)
        self.state[f"{name}.bias"] = 0.3 * self.normal(channels)
        self.state[f"{name}.running_mean"] = 0.3 * self.normal(channels)
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=self.draw)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def bam_state(channels: int, seed: int = 0, reduction: int = 16) -> State:
    """A released BAM's state dict for ``channels`` channels, trained-looking."""
    make, hidden = _Maker(seed), channels // reduction
    make.layer("channel_att.gate_c.gate_c_fc_0", hidden, channels)
    make.batch_norm("channel_att.gate_c.gate_c_bn_1", hidden)
    make.layer("channel_att.gate_c.gate_c_fc_final", channels, hidden)
    make.layer("spatial_att.gate_s.gate_s_conv_reduce0", hidden, channels, 1, 1)
    make.batch_norm("spatial_att.gate_s.gate_s_bn_reduce0", hidden)
    for i in range(2):
        make.layer(f"spatial_att.gate_s.gate_s_conv_di_{i}", hidden, hidden, 3, 3)
        make.batch_norm(f"spatial_att.gate_s.gate_s_bn_di_{i}", hidden)
    make.layer("spatial_att.gate_s.gate_s_conv_final", 1, hidden, 1, 1)
    return make.state


def cbam_state(channels: int, seed: int = 0, reduction: int = 16) -> State:
    """A released CBAM's state dict for ``channels`` channels, trained-looking."""
    make, hidden = _Maker(seed), channels // reduction
    make.layer("ChannelGate.mlp.1", hidden, channels)
    make.layer("ChannelGate.mlp.3", channels, hidden)
    make.layer("SpatialGate.spatial.conv", 1, 2, 7, 7, bias=False)
    make.batch_norm("SpatialGate.spatial.bn", 1)
    return make.state


class _Reader:
    """The layers of a state dict, applied by name."""

    def __init__(self, state: State, train: bool) -> None:
        self.arrays = {name: tensor.detach().numpy().astype(np.float64) for name, tensor in state.items()}
        self.train = train

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return np.einsum("oi,bi->bo", self.arrays[f"{name}.weight"], x) + self.arrays[f"{name}.bias"]

    def conv(self, name: str, x: np.ndarray, dilation: int = 1) -> np.ndarray:
        weight = self.arrays[f"{name}.weight"]
        span = dilation * (weight.shape[-1] - 1)
        padded = np.pad(x, [(0, 0), (0, 0), (span // 2, span // 2), (span // 2, span // 2)])
        windows = sliding_window_view(padded, (span + 1, span + 1), axis=(2, 3))[..., ::dilation, ::dilation]
        out = np.einsum("bihwkl,oikl->bohw", windows, weight)
        bias = self.arrays.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]

    def batch_norm(self, name: str, x: np.ndarray) -> np.ndarray:
        columns = np.moveaxis(x, 1, -1)
        rows = columns.reshape(-1, columns.shape[-1])
        mean = rows.sum(0) / len(rows) if self.train else self.arrays[f"{name}.running_mean"]
        var = (rows**2).sum(0) / len(rows) - mean**2 if self.train else self.arrays[f"{name}.running_var"]
        scale = self.arrays[f"{name}.weight"] / np.sqrt(var + 1e-5)
        return np.moveaxis(columns * scale + (self.arrays[f"{name}.bias"] - mean * scale), -1, 1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def bam(x: np.ndarray, state: State, train: bool = False) -> np.ndarray:
    """``x * (1 + sigmoid(Mc * Ms))`` as the released ``BAM.forward``."""
    read = _Reader(state, train)
    what, where = "channel_att.gate_c.gate_c_", "spatial_att.gate_s.gate_s_"
    hidden = read.batch_norm(f"{what}bn_1", read.linear(f"{what}fc_0", x.mean((2, 3))))
    channel = read.linear(f"{what}fc_final", np.maximum(hidden, 0))
    hidden = np.maximum(read.batch_norm(f"{where}bn_reduce0", read.conv(f"{where}conv_reduce0", x)), 0)
    for i in range(2):
        hidden = np.maximum(read.batch_norm(f"{where}bn_di_{i}", read.conv(f"{where}conv_di_{i}", hidden, 4)), 0)
    spatial = read.conv(f"{where}conv_final", hidden)
    return x * (1 + _sigmoid(channel[:, :, None, None] * spatial))


def cbam(x: np.ndarray, state: State, train: bool = False) -> np.ndarray:
    """The released ``CBAM.forward``: channel gate on avg and max, then the spatial gate on [max, mean]."""
    read = _Reader(state, train)
    logits = sum(
        read.linear("ChannelGate.mlp.3", np.maximum(read.linear("ChannelGate.mlp.1", pooled), 0))
        for pooled in (x.mean((2, 3)), x.max((2, 3)))
    )
    x = x * _sigmoid(logits)[:, :, None, None]
    described = np.stack([x.max(1), x.mean(1)], axis=1)
    return x * _sigmoid(read.batch_norm("SpatialGate.spatial.bn", read.conv("SpatialGate.spatial.conv", described)))
