"""A layer and the norm after it, folded: the layer computes what both did, and the norm lets its input pass.

Both stay the modules they were, under their names and with their tensors; only their classes change, to subclasses made
here. So nothing in a host's structure or in its checkpoints moves, and unfolding is giving the classes back.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvTransposeNd

from whatwhere.errors import AttachError

__all__ = ["LAYERS", "NORMS", "Folded", "FoldedLayer", "FoldedNorm", "fold", "kind", "numbers", "refuse_folded"]

# Classes whose forward is known word for word, so no subclass of them; norms with what they do after normalising.
LAYERS = frozenset(
    {
        *(f"torch.nn.modules.conv.Conv{dims}d" for dims in (1, 2, 3)),
        *(f"torch.nn.modules.conv.ConvTranspose{dims}d" for dims in (1, 2, 3)),
        "torch.nn.modules.linear.Linear",
    }
)
NORMS: Mapping[str, tuple[str, ...]] = {
    **{f"torch.nn.modules.batchnorm.BatchNorm{dims}d": () for dims in (1, 2, 3)},
    "torch.nn.modules.batchnorm.SyncBatchNorm": (),
    "torchvision.ops.misc.FrozenBatchNorm2d": (),
    "timm.layers.norm_act.BatchNormAct2d": ("drop", "act"),
    "timm.layers.norm_act.FrozenBatchNormAct2d": ("drop", "act"),
}


def kind(plain: type[nn.Module]) -> str:
    """The full name of a class, as ``LAYERS`` and ``NORMS`` have it: their libraries need not be imported."""
    return f"{plain.__module__}.{plain.__qualname__}"


class Folded(nn.Module):
    """What is mixed into the class of a folded module; ``unfolded`` is the class that it had.

    Raises:
        AttachError: in the forward, in training mode.
    """

    unfolded: ClassVar[type[nn.Module]]
    # the other of the two; in a tuple, for as a child it would stand in state dicts a second time
    partner: "tuple[Folded]"

    def check_mode(self) -> None:
        """Refuse training mode: the norm's statistics would stand still, and no weight would learn."""
        if self.training:
            raise AttachError(
                f"{type(self).__name__}: a network with folded norms runs in eval mode only",
                fix="unfold_norms(model) before training, fold_norms(model) afterwards",
            )

    def restore(self) -> None:
        """Become again what it was."""
        del self.partner
        self.__class__ = self.unfolded  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _revive, (self.unfolded,), self.__getstate__()  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        _refill(self, self.partner[0])  # which of the two is loaded last is not known


class FoldedLayer(Folded):
    """A convolution or linear that applies its norm too. ``weight`` and ``bias`` are still what was trained."""

    folded_weight: Tensor
    folded_bias: Tensor

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        self.check_mode()
        given: Any = self
        if isinstance(self, nn.Linear):
            return F.linear(x, self.folded_weight, self.folded_bias)
        if not isinstance(self, _ConvTransposeNd):
            return given._conv_forward(x, self.folded_weight, self.folded_bias)  # type: ignore[no-any-return]
        dims = len(given.kernel_size)
        sizes = given.stride, given.padding, given.kernel_size
        padding = given._output_padding(x, output_size, *sizes, dims, given.dilation)
        return torch.convolution(
            x, self.folded_weight, self.folded_bias, *sizes[:2], given.dilation, True, padding, given.groups
        )

    def restore(self) -> None:
        del self.folded_weight, self.folded_bias
        super().restore()


class FoldedNorm(Folded):
    """A norm whose work its layer does; what it does after normalising (an activation) it still does."""

    after: ClassVar[tuple[str, ...]]

    def forward(self, x: Tensor) -> Tensor:
        self.check_mode()
        for name in self.after:
            x = getattr(self, name)(x)
        return x


@cache
def _folded_class(plain: Any) -> type[Folded]:
    after = NORMS.get(kind(plain))
    base = FoldedLayer if after is None else FoldedNorm
    return type(f"Folded{plain.__name__}", (base, plain), {"unfolded": plain, "after": after})


def _revive(plain: Any) -> Folded:
    """An empty module, for copies and pickles to fill: a class made here has no place to be imported from."""
    made = _folded_class(plain)
    return made.__new__(made)


def numbers(layer: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer with its norm: computed in float64, rounded once to the layer's dtype.

        weight' = weight * scale        bias' = (bias - mean) * scale + beta        scale = gamma / sqrt(var + eps)

    The weight keeps its memory format. The arithmetic is the CPU's, for not every device has float64.
    """
    weight = _exact(layer.weight)
    scale = _exact(norm.weight, 1) / (_exact(norm.running_var) + norm.eps).sqrt()
    bias = (_exact(layer.bias, 0) - _exact(norm.running_mean)) * scale + _exact(norm.bias, 0)
    if isinstance(layer, _ConvTransposeNd):  # (inputs, outputs / groups, ...), the groups one after the other
        rows = scale.view(layer.groups, 1, -1).expand(-1, layer.in_channels // layer.groups, -1).flatten(0, 1)
    else:
        rows = scale[:, None]
    like: Any = layer.weight
    return (weight * rows[(..., *[None] * (weight.ndim - rows.ndim))]).to(like), bias.to(like)


def _exact(tensor: Any, missing: float = 0) -> Any:
    return missing if tensor is None else tensor.detach().cpu().double()


@torch.inference_mode(False)  # what is made here must serve outside of it, too
def fold(layer: nn.Module, norm: nn.Module) -> None:
    """Fold the norm into the layer; ``restore`` of both is the inverse. Nothing is checked."""
    weight, bias = numbers(layer, norm)
    layer.register_buffer("folded_weight", weight, persistent=False)
    layer.register_buffer("folded_bias", bias, persistent=False)
    both: list[tuple[Any, Any]] = [(layer, norm), (norm, layer)]
    for one, other in both:
        plain: Any = type(one)
        one.partner = (other,)
        one.__class__ = _folded_class(plain)


@torch.no_grad()
def _refill(one: Folded, other: Folded) -> None:
    """Fold once more, after either got other tensors."""
    layer, norm = (one, other) if isinstance(one, FoldedLayer) else (other, one)
    assert isinstance(layer, FoldedLayer)
    weight, bias = numbers(layer, norm)
    layer.folded_weight.copy_(weight)
    layer.folded_bias.copy_(bias)


def refuse_folded(model: nn.Module, call: str) -> None:
    """Refuse a network with folded norms.

    Raises:
        AttachError: it has some.
    """
    found = [name for name, module in model.named_modules() if isinstance(module, FoldedNorm)]
    if found:
        raise AttachError(
            f"{call}: norms of the network are folded; nothing was changed",
            got=f"{len(found)} folded, the first {found[0]!r}",
            fix="unfold_norms(model) first",
        )
