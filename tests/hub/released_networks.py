"""ResNets with BAM and CBAM as the authors released them, in plain torch: their names, their places, their formulas.

Written from the description of that code, apart from the package: the two can contradict each other.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ReleasedResNet", "as_pytorchcv", "trained_looking"]

_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class _BamChannel(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate_c = nn.Sequential()
        self.gate_c.add_module("flatten", nn.Flatten())
        self.gate_c.add_module("gate_c_fc_0", nn.Linear(channels, channels // 16))
        self.gate_c.add_module("gate_c_bn_1", nn.BatchNorm1d(channels // 16))
        self.gate_c.add_module("gate_c_relu_1", nn.ReLU())
        self.gate_c.add_module("gate_c_fc_final", nn.Linear(channels // 16, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.gate_c(F.avg_pool2d(x, x.size(2), stride=x.size(2)))[:, :, None, None]


class _BamSpatial(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 16
        self.gate_s = nn.Sequential()
        self.gate_s.add_module("gate_s_conv_reduce0", nn.Conv2d(channels, hidden, 1))
        self.gate_s.add_module("gate_s_bn_reduce0", nn.BatchNorm2d(hidden))
        self.gate_s.add_module("gate_s_relu_reduce0", nn.ReLU())
        for i in range(2):
            self.gate_s.add_module(f"gate_s_conv_di_{i}", nn.Conv2d(hidden, hidden, 3, padding=4, dilation=4))
            self.gate_s.add_module(f"gate_s_bn_di_{i}", nn.BatchNorm2d(hidden))
            self.gate_s.add_module(f"gate_s_relu_di_{i}", nn.ReLU())
        self.gate_s.add_module("gate_s_conv_final", nn.Conv2d(hidden, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.gate_s(x)


class _Bam(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_att, self.spatial_att = _BamChannel(channels), _BamSpatial(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (1 + torch.sigmoid(self.channel_att(x) * self.spatial_att(x))) * x


class _CbamChannel(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(channels, channels // 16), nn.ReLU(), nn.Linear(channels // 16, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        logits = self.mlp(F.avg_pool2d(x, size)) + self.mlp(F.max_pool2d(x, size))
        return x * torch.sigmoid(logits)[:, :, None, None]


class _CbamSpatial(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.Sequential()
        self.spatial.add_module("conv", nn.Conv2d(2, 1, 7, padding=3, bias=False))
        self.spatial.add_module("bn", nn.BatchNorm2d(1, momentum=0.01))

    def forward(self, x: Tensor) -> Tensor:
        described = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial(described))


class _Cbam(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ChannelGate, self.SpatialGate = _CbamChannel(channels), _CbamSpatial()

    def forward(self, x: Tensor) -> Tensor:
        return self.SpatialGate(self.ChannelGate(x))


class _Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 with the stride in the 3x3; CBAM before the addition."""

    def __init__(self, inputs: int, width: int, stride: int, deep: bool, cbam: bool) -> None:
        super().__init__()
        outputs = 4 * width if deep else width
        sizes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        for i, (a, b, kernel, step) in enumerate(sizes if deep else [(inputs, width, 3, stride), (width, width, 3, 1)]):
            self.add_module(f"conv{i + 1}", nn.Conv2d(a, b, kernel, stride=step, padding=kernel // 2, bias=False))
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(b))
        self.count = 3 if deep else 2
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.cbam = _Cbam(outputs) if cbam else None

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i in range(1, self.count + 1):
            out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
            out = F.relu(out) if i < self.count else out
        out = out if self.cbam is None else self.cbam(out)
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ReleasedResNet(nn.Module):
    """The released network of one depth for ImageNet, or for CIFAR (``small``), with gates of one kind or none."""

    def __init__(self, depth: int, gate: str | None, classes: int = 10, small: bool = False) -> None:
        super().__init__()
        deep, inputs = depth >= 50, 64
        self.small = small
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False) if small else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        for stage, count in enumerate(_DEPTHS[depth], start=1):
            width, made = 32 * 2**stage, []
            for block in range(count):
                made.append(_Block(inputs, width, 2 if block == 0 and stage > 1 else 1, deep, gate == "cbam"))
                inputs = 4 * width if deep else width
            self.add_module(f"layer{stage}", nn.Sequential(*made))
            if stage < 4:
                self.add_module(f"bam{stage}", _Bam(inputs) if gate == "bam" else None)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = x if self.small else F.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            bam = getattr(self, f"bam{stage}", None)
            x = x if bam is None else bam(x)
        return self.fc(x.mean((2, 3)))


def trained_looking(network: nn.Module, seed: int = 1) -> nn.Module:
    """Move norms and biases off their first values, so that a tensor that went astray shows; in eval mode."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.copy_(0.7 + 0.2 * torch.rand(module.weight.shape, generator=draw))
                module.running_mean.copy_(0.1 * torch.randn(module.weight.shape, generator=draw))
                module.running_var.copy_(0.8 + 0.4 * torch.rand(module.weight.shape, generator=draw))
                module.num_batches_tracked.fill_(7)
            if getattr(module, "bias", None) is not None:
                module.bias.copy_(0.1 * torch.randn(module.bias.shape, generator=draw))
    return network.eval()


_PYTORCHCV = {
    "channel_att.gate_c.gate_c_fc_0": "ch_att.init_fc.fc",
    "channel_att.gate_c.gate_c_bn_1": "ch_att.init_fc.bn",
    "channel_att.gate_c.gate_c_fc_final": "ch_att.final_fc",
    "spatial_att.gate_s.gate_s_conv_reduce0": "sp_att.init_conv.conv",
    "spatial_att.gate_s.gate_s_bn_reduce0": "sp_att.init_conv.bn",
    "spatial_att.gate_s.gate_s_conv_di_0": "sp_att.dil_convs.conv1.conv",
    "spatial_att.gate_s.gate_s_bn_di_0": "sp_att.dil_convs.conv1.bn",
    "spatial_att.gate_s.gate_s_conv_di_1": "sp_att.dil_convs.conv2.conv",
    "spatial_att.gate_s.gate_s_bn_di_1": "sp_att.dil_convs.conv2.bn",
    "spatial_att.gate_s.gate_s_conv_final": "sp_att.final_conv",
    "ChannelGate.mlp.1": "ch_gate.mlp.fc1",
    "ChannelGate.mlp.3": "ch_gate.mlp.fc2",
    "SpatialGate.spatial.conv": "sp_gate.conv.conv",
    "SpatialGate.spatial.bn": "sp_gate.conv.bn",
}


def as_pytorchcv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released network's state under the names that pytorchcv gives the same tensors."""
    bam = any(key.startswith("bam") for key in state)
    renamed = {}
    for key, tensor in state.items():
        module, leaf = key.rsplit(".", 1)
        parts = module.split(".")
        if parts[0].startswith("bam"):
            name = f"features.stage{int(parts[0][3:]) + 1}.unit1.bam.{_PYTORCHCV['.'.join(parts[1:])]}"
        elif parts[0].startswith("layer"):
            unit = f"features.stage{parts[0][5:]}.unit{int(parts[1]) + 1}"
            body = f"{unit}.res_unit" if bam else unit
            if parts[2] == "cbam":
                name = f"{unit}.cbam.{_PYTORCHCV['.'.join(parts[3:])]}"
            elif parts[2] == "downsample":
                name = f"{body}.identity_conv.{('conv', 'bn')[int(parts[3])]}"
            else:
                name = f"{body}.body.conv{parts[2][-1]}.{parts[2][:-1]}"
        else:
            name = {"conv1": "features.init_block.conv.conv", "bn1": "features.init_block.conv.bn", "fc": "output"}[
                module
            ]
        renamed[f"{name}.{leaf}"] = tensor
    return renamed
