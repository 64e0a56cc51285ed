"""What is known about each awkward host: what it takes, and where its bottlenecks and blocks are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from support.awkward import (
    DictOutput,
    FunctionalReLU,
    Hooked,
    Indexed,
    InPlaceAdd,
    KeepsLock,
    KeepsMap,
    NamedGate,
    Nested,
    ParallelDown,
    Plain,
    PreActivation,
    SharedModule,
    Tied,
    TwoInputs,
)
from torch import Tensor, nn

__all__ = ["HOSTS", "UNCOPYABLE", "Host", "host"]


def _channels_last() -> nn.Module:
    return Plain().to(memory_format=torch.channels_last)


def _in_training() -> nn.Module:
    """Every other is in eval mode; in this one part of it is too."""
    host = Plain().train()
    host.stage2.eval()
    return host


def _frozen() -> nn.Module:
    return Plain().requires_grad_(False)


Bottleneck = tuple[str, str, int, tuple[int, ...]]


@dataclass(frozen=True)
class Host:
    """One awkward host: how it is made, what it takes, where its bottlenecks and blocks are.

    ``bottlenecks`` are (name, side, channels, size); ``inputs`` are shapes without the batch.
    """

    make: Callable[[], nn.Module]
    bottlenecks: tuple[Bottleneck, ...]
    blocks: tuple[str, ...] = ()
    inputs: tuple[tuple[int, ...], ...] = ((3, 16, 24),)
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    training: bool = False
    exclude: tuple[str, ...] = ()

    def build(self, seed: int = 0) -> nn.Module:
        """The host, its batch norms' statistics away from their start."""
        torch.manual_seed(seed)
        model = self.make()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        model = model if self.training else model.eval()
        return model.to(self.dtype)

    def images(self, batch: int = 2) -> tuple[Tensor, ...]:
        """A batch of inputs."""
        draw = torch.Generator().manual_seed(1)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        made = [torch.randn(batch, *shape, generator=draw).to(self.dtype) for shape in self.inputs]
        return tuple(x.to(memory_format=layout) if x.ndim == 4 else x for x in made)

    def planning(self) -> dict[str, Any]:
        """The keywords that tell ``plan`` what the host takes."""
        takes = {"inputs": self.images()} if len(self.inputs) > 1 else {"input_size": self.inputs[0]}
        return {**takes, "exclude": self.exclude} if self.exclude else takes

    @property
    def spatial_dims(self) -> int:
        """One, two or three."""
        return len(self.inputs[0]) - 1


_TWO = (("stage1.2", "output", 16, (16, 24)), ("stage2.2", "output", 32, (8, 12)))


def _two(first: str, second: str) -> tuple[Bottleneck, ...]:
    """Two sites behind modules, where a network of three stages has its bottlenecks."""
    return (first, *_TWO[0][1:]), (second, *_TWO[1][1:])


HOSTS: dict[str, Host] = {
    "plain": Host(Plain, _TWO),
    "shared-module": Host(SharedModule, (("stage2", "input", 16, (16, 24)), _TWO[1])),
    "tied": Host(Tied, _TWO),
    "functional-relu": Host(FunctionalReLU, (("conv2", "input", 16, (16, 24)), ("conv3", "input", 32, (8, 12)))),
    "in-place-add": Host(
        InPlaceAdd,
        _two("layer1.1", "layer2.1"),
        blocks=("layer1.0.bn2", "layer1.1.bn2", "layer2.0.bn2", "layer2.1.bn2", "layer3.0.bn2"),
    ),
    "pre-activation": Host(
        PreActivation,
        _two("layer1.1", "layer2.0"),
        blocks=("layer1.0.conv2", "layer1.1.conv2", "layer2.0.conv2", "layer3.0.conv2"),
    ),
    "parallel-down": Host(ParallelDown, _two("stage1.2", "stage2")),
    "dict-output": Host(DictOutput, _TWO),
    "two-inputs": Host(TwoInputs, (("stage2", "input", 16, (16, 24)), _TWO[1]), inputs=((3, 16, 24), (4,))),
    "channels-last": Host(_channels_last, _TWO, channels_last=True),
    "indexed": Host(Indexed, _two("stage1.1.2", "stage2.1.2")),
    "one-dimension": Host(
        lambda: Plain(1), (("stage1.2", "output", 16, (40,)), ("stage2.2", "output", 32, (20,))), inputs=((3, 40),)
    ),
    "three-dimensions": Host(
        lambda: Plain(3),
        (("stage1.2", "output", 16, (8, 12, 16)), ("stage2.2", "output", 32, (4, 6, 8))),
        inputs=((3, 8, 12, 16),),
    ),
    "named-gate": Host(NamedGate, _TWO[:1], exclude=("stage2",)),
    "hooked": Host(Hooked, _TWO),
    "nested": Host(Nested, _two("net.backbone.body.stem.2", "net.backbone.body.mid.2")),
    "bfloat16": Host(Plain, _TWO, dtype=torch.bfloat16),
    "half": Host(Plain, _TWO, dtype=torch.float16),
    "double": Host(Plain, _TWO, dtype=torch.float64),
    "in-training": Host(_in_training, _TWO, training=True),
    "frozen": Host(_frozen, _TWO),
}


UNCOPYABLE = {"lock": Host(KeepsLock, _TWO), "last-map": Host(KeepsMap, _TWO)}


def host(name: str) -> nn.Module:
    """The host of that name, built."""
    return HOSTS[name].build()
