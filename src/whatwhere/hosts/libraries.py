"""Networks of torchvision and timm, which are imported here and only when one of theirs is asked for."""

from typing import Any

from torch import nn

from whatwhere.errors import HostError, closest
from whatwhere.hosts.stem import input_channels_, small_stem_

__all__ = ["from_timm", "from_torchvision"]

# Both return a tuple in training unless told to leave their second classifier out.
_WITH_SECOND_CLASSIFIER = ("googlenet", "inception_v3")


def _unknown(call: str, library: str, near: tuple[str, ...], listing: str) -> HostError:
    closest = [f"{library}/{name}" for name in near]
    return HostError(f"{call}: {library} has no such network", closest=closest, fix=f"{listing}() lists them")


def _not_installed(call: str, library: str) -> HostError:
    return HostError(f"{call}: {library} is not installed", fix="pip install 'whatwhere[lab]'")


def _no_download(call: str, error: OSError) -> HostError:
    first_line = next(iter(str(error).splitlines()), type(error).__name__)
    return HostError(
        f"{call}: the published weights could not be fetched",
        got=first_line,
        fix="pretrained=False, then load_state_dict from a checkpoint file copied here",
    )


def from_torchvision(
    name: str, num_classes: int, in_channels: int, stem: str, pretrained: bool, call: str
) -> nn.Module:
    """Builds a classification network of torchvision (``name`` without its prefix); see ``build``."""
    try:
        from torchvision import models
    except ImportError as error:
        raise _not_installed(call, "torchvision") from error
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown(call, "torchvision", closest(name, known), "torchvision.models.list_models")
    options: dict[str, Any] = {}
    if name in _WITH_SECOND_CLASSIFIER:
        # The published weights expect images rescaled from ImageNet's statistics, channel by channel.
        options = {"aux_logits": False, "init_weights": True, "transform_input": pretrained and in_channels == 3}
    model: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    if pretrained:
        try:
            published = models.get_model(name, weights="DEFAULT", progress=False)
        except OSError as error:
            raise _no_download(call, error) from error
        # Only the classifier's shapes can differ: a second one is not in the model, another class count starts fresh.
        own = model.state_dict()
        fitting = {k: v for k, v in published.state_dict().items() if k in own and own[k].shape == v.shape}
        model.load_state_dict(fitting, strict=False)
    if in_channels != 3:
        input_channels_(model, in_channels, call)
    if stem == "small":
        small_stem_(model, call)
    return model


def from_timm(name: str, num_classes: int, in_channels: int, stem: str, pretrained: bool, call: str) -> nn.Module:
    """Builds a network of timm (``name`` without its prefix, with or without a weights' tag); see ``build``."""
    try:
        import timm
    except ImportError as error:
        raise _not_installed(call, "timm") from error
    tagged = "." in name
    known = timm.list_pretrained() if tagged else timm.list_models()
    # A model that timm has renamed is not listed and still builds.
    if name not in known and (tagged or not timm.is_model(name)):
        raise _unknown(call, "timm", closest(name, known), "timm.list_pretrained" if tagged else "timm.list_models")
    if pretrained and not timm.models.is_model_pretrained(name.partition(".")[0]):
        raise HostError(f"{call}: timm publishes no weights for it", fix="pretrained=False")
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)
    except OSError as error:
        raise _no_download(call, error) from error
    if stem == "small":
        small_stem_(model, call)
    return model
