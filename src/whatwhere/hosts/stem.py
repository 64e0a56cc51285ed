"""The first layers of a network that somebody else wrote, fitted to small images or to other channels."""

from torch import nn

from whatwhere.errors import HostError

__all__ = ["input_channels_", "small_stem_"]


def _first_conv(model: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """The first convolution in the order of registration; None when it is of a special class or grouped."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return (name, module) if type(module) is nn.Conv2d and module.groups == 1 else None
    return None


def _pool_after(model: nn.Module, conv: nn.Conv2d) -> str | None:
    """The max-pool that follows ``conv`` with no other convolution or linear layer between."""
    passed = False
    for name, module in model.named_modules():
        if not passed:
            passed = module is conv
        elif isinstance(module, nn.MaxPool2d):
            return str(name)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            return None
    return None


def small_stem_(model: nn.Module, call: str) -> None:
    """Replaces, in place, a strided convolution and its max-pool by a 3x3 convolution of stride 1.

    The new convolution keeps the channels and the bias setting; its weights are drawn anew. The pool becomes
    ``nn.Identity``. What a library records about strides (timm's ``feature_info``) is left as it was.

    Args:
        model: the network.
        call: what the user wrote, for the error's first line.

    Raises:
        HostError: the network does not begin with a strided convolution and a max-pool; nothing was changed.
    """
    found = _first_conv(model)
    pool = _pool_after(model, found[1]) if found and found[1].stride != (1, 1) else None
    if found is None or pool is None:
        raise HostError(
            f"{call}: only a strided convolution followed by a max-pool can become a small stem",
            got=f"{type(model).__name__}, which begins otherwise",
            fix="stem='standard', or a ResNet, ResNeXt, DenseNet or ShuffleNet",
        )
    name, conv = found
    fresh = nn.Conv2d(conv.in_channels, conv.out_channels, 3, stride=1, padding=1, bias=conv.bias is not None)
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    model.set_submodule(name, fresh.to(conv.weight))
    model.set_submodule(pool, nn.Identity())


def input_channels_(model: nn.Module, in_channels: int, call: str) -> None:
    """Gives the first convolution, in place, ``in_channels`` inputs and weights drawn anew.

    Args:
        model: the network.
        in_channels: channels of the images.
        call: what the user wrote, for the error's first line.

    Raises:
        HostError: the network does not begin with a plain convolution; nothing was changed.
    """
    found = _first_conv(model)
    if found is None:
        raise HostError(
            f"{call}: the first layer must be a plain Conv2d for other input channels",
            got=f"{type(model).__name__}, which begins otherwise",
            fix="in_channels=3, or timm's network of the same kind",
        )
    conv = found[1]
    conv.in_channels = in_channels
    conv.weight = nn.Parameter(conv.weight.new_empty(conv.out_channels, in_channels, *conv.kernel_size))
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
