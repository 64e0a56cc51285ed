"""Small hosts, each awkward in one way that real networks are."""

import threading
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "DictOutput",
    "FunctionalReLU",
    "Hooked",
    "InPlaceAdd",
    "Indexed",
    "KeepsLock",
    "KeepsMap",
    "NamedGate",
    "Nested",
    "ParallelDown",
    "Plain",
    "PreActivation",
    "SharedModule",
    "Tied",
    "TwoInputs",
    "Untraceable",
    "stage",
]

_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def stage(inputs: int, outputs: int, stride: int = 1, dims: int = 2) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = _CONVS[dims](inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, _NORMS[dims](outputs), nn.ReLU())


class Plain(nn.Module):
    """Three stages of 16, 32 and 32 channels and a head: what the others depart from."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.stage1 = stage(3, 16, dims=dims)
        self.stage2 = stage(16, 32, 2, dims)
        self.stage3 = stage(32, 32, 2, dims)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.head(x.flatten(2).mean(2))


class SharedModule(Plain):
    """One module is called twice in every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = stage(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(x)
        x = self.stage2(self.mix(self.mix(x)))
        return self.head(self.stage3(x).flatten(2).mean(2))


class Tied(Plain):
    """Two convolutions own one Parameter, and one stage has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Conv2d(32, 32, 3, padding=1, bias=False) for _ in range(2))
        self.right.weight = self.left.weight
        self.alias = self.stage2

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.alias(self.stage1(x)))
        return self.head(self.right(self.left(x)).flatten(2).mean(2))


class FunctionalReLU(nn.Module):
    """Nothing but convolutions are modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return F.relu(self.conv3(x)).mean((2, 3))


class Residual(nn.Module):
    """A block that adds in place, after an in-place ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.down = None if stride == 1 and inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.down is None else self.down(x)
        return self.relu(out)


class InPlaceAdd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.layer1 = nn.Sequential(Residual(16, 16), Residual(16, 16))
        self.layer2 = nn.Sequential(Residual(16, 32, 2), Residual(32, 32))
        self.layer3 = nn.Sequential(Residual(32, 32, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer3(self.layer2(self.layer1(self.stem(x)))).mean((2, 3))


class PreActivationBlock(nn.Module):
    """Norm and ReLU come first; the sum is the output as it is."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return self.conv2(F.relu(self.norm2(self.conv1(active)))) + shortcut


class PreActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.layer1 = nn.Sequential(PreActivationBlock(16, 16), PreActivationBlock(16, 16))
        self.layer2 = nn.Sequential(PreActivationBlock(16, 32, 2))
        self.layer3 = nn.Sequential(PreActivationBlock(32, 32, 2))
        self.norm = nn.BatchNorm2d(32)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.layer3(self.layer2(self.layer1(self.stem(x)))))).mean((2, 3))


class Forked(nn.Module):
    """Downsamples by a convolution and a pool at once, and joins them, as Inception does."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = stage(inputs, outputs - inputs, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x), self.pool(x)], 1)


class ParallelDown(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.stage2 = Forked(16, 32)
        self.stage3 = Forked(32, 64)
        self.head = nn.Linear(64, 5)


class DictOutput(Plain):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        low = self.stage2(self.stage1(x))
        high = self.stage3(low)
        return {"low": low, "out": self.head(high.flatten(2).mean(2))}


class TwoInputs(Plain):
    """An image, and a vector that shifts its first map; the stages are called with keywords too."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Linear(4, 16)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        x = self.stage1(image) + self.shift(condition)[:, :, None, None]
        x = self.stage3(input=self.stage2(x))
        return self.head(x.flatten(2).mean(2))


class Indexed(nn.Module):
    """Its forward walks over one stage and indexes another; only the first is ever called."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(stage(3, 16), stage(16, 16))
        self.stage2 = nn.Sequential(stage(16, 32, 2), stage(32, 32))
        self.stage3 = nn.Sequential(stage(32, 32, 2), stage(32, 32))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(x)
        for part in self.stage2:
            x = part(x)
        for index in range(len(self.stage3)):
            x = self.stage3[index](x)
        return x.mean((2, 3))


class OwnGate(nn.Module):
    """A stage with a part of its own that is called 'gate', and one called 'host'."""

    def __init__(self) -> None:
        super().__init__()
        self.host = stage(16, 32, 2)
        self.gate = nn.Conv2d(32, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.host(x)
        return x * self.gate(x).sigmoid()


class NamedGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage1 = stage(3, 16)
        self.stage2 = OwnGate()
        self.stage3 = stage(32, 32, 2)
        self.gate = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(self.stage3(self.stage2(self.stage1(x))).mean((2, 3)))


class Hooked(Plain):
    """Carries its user's hooks, which take notes and double what they see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.stage1.register_forward_hook(self._after)
        self.stage2.register_forward_pre_hook(self._before)
        self.stage3.register_forward_pre_hook(self._before_with, with_kwargs=True)
        self.stage3.register_full_backward_hook(self._backward)

    def _after(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        self.seen.append("after")
        return output * 2

    def _before(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        self.seen.append("before")
        return (args[0] * 2,)

    def _before_with(self, module: nn.Module, args: tuple[Tensor], kwargs: dict[str, Any]) -> Any:
        return self._before(module, args), kwargs

    def _backward(self, module: nn.Module, given: Any, taken: Any) -> None:
        self.seen.append("backward")


class KeepsLock(Plain):
    """Holds what cannot be deep-copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class KeepsMap(Plain):
    """Holds the last map it computed, graph and all, which cannot be deep-copied either."""

    def __init__(self) -> None:
        super().__init__()
        self.last = self.stage1(torch.zeros(2, 3, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.stage1(x)
        return self.head(self.stage3(self.stage2(self.last)).flatten(2).mean(2))


class Nested(nn.Module):
    """A backbone inside a wrapper, and a list of heads beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"backbone": Backbone()})
        self.heads = nn.ModuleList([nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.net["backbone"](x)
        return [head(x) for head in self.heads]


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [("stem", stage(3, 16)), ("mid", stage(16, 32, 2)), ("top", stage(32, 32, 2))]
        self.body = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Untraceable(Plain):
    """What it computes depends on the values it sees."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(x)
        if x.mean().item() > 0:
            x = x * 2
        return self.head(self.stage3(self.stage2(x)).flatten(2).mean(2))
