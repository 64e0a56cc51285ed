"""Networks to fold, small ones, and norms as training leaves them."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Net", "shaken"]


def shaken(model):
    """The model in eval mode, its norms' numbers away from where they start, as training leaves them."""
    draw = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, _BatchNorm) or type(module).__name__.startswith("Frozen"):
            for name, low, high in (("weight", 0.3, 0.9), ("bias", -0.3, 0.3), ("running_mean", -0.3, 0.3)):
                if getattr(module, name) is not None:
                    getattr(module, name).detach().uniform_(low, high, generator=draw)
            if module.running_var is not None:
                module.running_var.uniform_(0.5, 1.5, generator=draw)
    return model.eval()


class Net(nn.Module):
    """A convolution and a norm, and what a test does with them."""

    def __init__(self, forward=None, conv=None, norm=None, **parts):
        super().__init__()
        self.conv, self.norm = conv or nn.Conv2d(3, 4, 3, padding=1), norm or nn.BatchNorm2d(4)
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = forward

    def forward(self, x):
        return self.run(self, x) if self.run else self.norm(self.conv(x))
