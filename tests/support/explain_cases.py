"""Small networks with gates, and images for them."""

import torch
from torch import Tensor, nn

import whatwhere as ww
from whatwhere.hosts import build

__all__ = ["OtherGate", "gated", "images"]


class OtherGate(nn.Module):
    """A gate of another library: it multiplies channels by the sigmoid of their means, and says nothing of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.weight[:, None, None] * x.mean((2, 3), keepdim=True)).sigmoid()


def gated(gate="cbam", start: str = "preset", seed: int = 0, **options) -> nn.Module:
    """A ResNet-8 for 32 pixels with gates at their paper's place, in eval mode; gates see varied inputs."""
    torch.manual_seed(seed)
    model = build("resnet8", num_classes=10, stem="small")
    if gate is not None:
        ww.attach_(model, gate, start=start, input_size=(3, 32, 32), **options)
        model.train()
        with torch.no_grad():
            model(images(16, seed + 1))  # so that the norms have statistics to speak of
    return model.eval()


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
