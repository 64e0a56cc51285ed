"""What the tests of detectors by name ask of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from whatwhere.errors import HostError

SMALL = "retinanet-resnet18-fpn"
LITE = "ssdlite320-mobilenet-v3"


def norms(model: nn.Module) -> set[str]:
    kinds = (nn.BatchNorm2d, FrozenBatchNorm2d, nn.GroupNorm)
    return {type(module).__name__ for module in model.modules() if isinstance(module, kinds)}


def saved(state: dict[str, Tensor], path: Path) -> str:
    torch.save(state, path)
    return str(path)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(HostError) as caught:
        call()
    return str(caught.value)


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
