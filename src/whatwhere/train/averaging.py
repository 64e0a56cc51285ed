"""The moving average of a network's weights, and of its batch norms' statistics."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["Average"]


class Average:
    """``average = decay * average + (1 - decay) * weights`` after every step; the first step's weights begin it.

    Floating-point buffers (the running statistics of batch norms) are averaged like weights; whole numbers, such as
    the count of batches, are the network's own. Costs a second copy of the network.

    Args:
        model: on its device; copied, hooks included.
        decay: between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        averaging: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._averaged = AveragedModel(model, multi_avg_fn=averaging, use_buffers=True)

    @property
    def model(self) -> nn.Module:
        """The network with the averaged weights."""
        return self._averaged.module

    def update(self, model: nn.Module) -> None:
        """Takes in the weights after a step."""
        self._averaged.update_parameters(model)
        for ours, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            if not ours.is_floating_point():
                ours.copy_(theirs)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that `load_state_dict` takes."""
        return dict(self._averaged.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from ``state``."""
        self._averaged.load_state_dict(state)
