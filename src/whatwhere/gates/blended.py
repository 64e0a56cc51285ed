"""Any map-to-map module, started at the identity."""

import torch
from torch import Tensor, nn

__all__ = ["Blended"]


class Blended(nn.Module):
    """``(1 - s) * x + s * module(x)`` with a trainable number ``strength`` s that starts at zero.

    What ``start="identity"`` is for a module of another library: the same blend a ``Gate`` makes of its factor, written
    for a module that only shows its output. At s = 0 the result is x to the bit as long as the module gives finite
    numbers and keeps the sign of a zero, as everything that multiplies by a positive gate does.

    Shape: x (B, C, *S) -> (B, C, *S).
    Cost: the module's, and three reads and writes of x besides.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = self.module(x.clone())  # a module that works in place must not change what is blended in
        return (1 - self.strength) * x + self.strength * gated
