"""A network with its gates that can go into a folder and come back."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from whatwhere.attach.gated import gated_modules
from whatwhere.errors import HostError, first_line
from whatwhere.hub.building import build_gated, check_tensors, describe_gates, outline
from whatwhere.hub.card import model_card
from whatwhere.hub.config import NetworkConfig
from whatwhere.hub.folder import check_target, read_folder, write_folder
from whatwhere.modes import evaluating

__all__ = ["GatedNetwork", "load_network", "save_network"]

# Two builds of one network on one device may sum in another order, and no more than that.
_ROUNDING = 1e-3


class GatedNetwork(nn.Module):
    """A host with its gates, and the config that builds both again.

    Attributes:
        network: the host with its gates in it, as ``attach_`` leaves it: ``status``, ``record``, ``detach_`` and the
            like take it, or the whole.
        config: what builds it again.
        card: the text of its README.md.

    Shape: images (B, C, H, W), normalised, -> logits (B, num_classes).
    Raises:
        HostError: the config's host or gates cannot be built.
    """

    def __init__(self, config: NetworkConfig | Mapping[str, Any], network: nn.Module | None = None) -> None:
        super().__init__()
        call = f"{type(self).__name__}(config)"
        self.config = config if isinstance(config, NetworkConfig) else NetworkConfig.from_json(config, call)
        self.network = build_gated(self.config, call) if network is None else network
        self.card = model_card(self.config)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def normalise(self, images: Tensor) -> Tensor:
        """``(images / 255 - mean) / std`` in float32: what the network is fed, from uint8 (B, C, H, W).

        Raises:
            HostError: the config knows no mean and std.
        """
        if not self.config.mean or not self.config.std:
            raise HostError(
                "normalise(images): this network's config has no mean and std", fix="normalise as in its training"
            )
        mean, std = (
            torch.tensor(one, device=images.device)[:, None, None] for one in (self.config.mean, self.config.std)
        )
        return (images.float() / 255 - mean) / std

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``README.md``; a folder with other such files is left alone.

        Raises:
            HostError: the folder cannot be written or holds something else; the network is not what the config builds.
        """
        call = f"{type(self).__name__}.save({str(folder)!r})"
        check_target(Path(folder), call)
        self.check(call)
        write_folder(Path(folder), self.config, self.network.state_dict(), self.card, call)

    def check(self, call: str) -> None:
        """Refuse a network that the config would not bring back: gates taken out, layers exchanged.

        Raises:
            HostError: in the name of ``call``.
        """
        _check_rebuilt(self.network, self.config, call)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], call: str = "") -> Self:
        """The network in a folder: as ``load_network``.

        Args:
            folder: what ``save`` wrote.
            call: what the user wrote, for the error's first line.
        Raises:
            HostError: files are missing or damaged, or do not belong together; nothing in them is run.
        """
        call = call or f"{cls.__name__}.load({str(folder)!r})"
        config, tensors, card = read_folder(Path(folder), call)
        rule = f"{call}: the tensors are not those of the network in config.json"
        check_tensors(outline(config, call), tensors, rule, "fetch or save the folder again, whole")
        network = build_gated(config, call)
        network.load_state_dict(tensors, assign=True)  # which keeps each tensor's own dtype
        loaded = cls(config, network)
        loaded.card = card or loaded.card
        return loaded.eval()


def save_network(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    host: str,
    num_classes: int,
    image_size: tuple[int, int],
    in_channels: int = 3,
    stem: str = "standard",
    width: float = 1.0,
    classes: Sequence[str] = (),
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    trained: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> GatedNetwork:
    """Write a network and its gates into a folder that ``load_network`` and huggingface_hub read.

    ``config.json`` says how to build it, ``model.safetensors`` has its tensors, ``README.md`` is its model card. Before
    anything is written the network is built again from the config, and both must give the same logits for one batch.

    Args:
        model: a host that ``whatwhere.hosts.build`` built, with gates of this package or none. Its mode stays.
        folder: made if need be.
        host, num_classes, in_channels, stem, width: what ``build`` was told.
        image_size: rows and columns of the images it was trained with.
        classes, mean, std: as in ``NetworkConfig``.
        trained: Markdown for the card: data, recipe, results and how many seeds they rest on.
        metadata: for the head of the card, plain values.
    Returns:
        The network with its config, whose ``save`` writes the same folder again.
    Raises:
        HostError: a gate is of another library, the model is not what ``build`` and its gates give, or the folder
            cannot be written or holds something else.
    """
    call = f"save_network({type(model).__name__}, {str(folder)!r}, host={host!r})"
    check_target(Path(folder), call)
    config = NetworkConfig(
        host, num_classes, image_size, in_channels, stem, width, describe_gates(model, call), tuple(classes),
        tuple(mean), tuple(std),
    )  # fmt: skip
    _check_rebuilt(model, config, call)
    saved = GatedNetwork(config, model)
    saved.card = model_card(config, trained=trained, metadata=metadata or {})
    write_folder(Path(folder), config, model.state_dict(), saved.card, call)
    return saved


def load_network(folder: str | os.PathLike[str]) -> GatedNetwork:
    """The network that ``save_network`` wrote into a folder: on the CPU, in eval mode, to the bit as it was.

    Nothing in the folder is run: a config names a host and gates of this package and has plain values besides, and is
    checked, as every tensor's name and shape is, before a network is built.

    Raises:
        HostError: files are missing or damaged, or do not belong together; the host or a gate cannot be built.
    """
    return GatedNetwork.load(folder, f"load_network({str(folder)!r})")


def _check_rebuilt(model: nn.Module, config: NetworkConfig, call: str) -> None:
    """Build the network again and compare names, shapes and the logits of two images."""
    fix = "save a network as hosts.build made it, with gates that attach_ put in and nothing else changed"
    if not all(gated.enabled for gated in gated_modules(model).values()):
        raise HostError(f"{call}: a gate is switched off; nothing was written", fix="save it outside disabled(model)")
    if describe_gates(model, call) != config.gates:
        raise HostError(f"{call}: its gates are not those of its config; nothing was written", fix=fix)
    state = model.state_dict()
    rule = f"{call}: the network is not what its config builds; nothing was written"
    check_tensors(outline(config, call), state, rule, fix)
    again = build_gated(config, call)
    again.load_state_dict({name: tensor.detach().cpu().clone() for name, tensor in state.items()}, assign=True)
    like = next(iter(model.parameters()))
    shape = (2, config.in_channels, *config.image_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(like)
    try:
        wanted, given = _logits(model, images), _logits(again.to(like.device), images)
    except Exception as error:  # the model is the user's and may fail in any way
        raise HostError(
            f"{call}: the network does not run on images of {config.image_size[0]} x {config.image_size[1]}; nothing "
            "was written",
            got=f"{type(error).__name__}: {first_line(error)}",
            fix="give the image_size it was trained with",
        ) from error
    apart = (wanted - given).abs().max().item()
    if not apart <= _ROUNDING * max(1.0, wanted.abs().max().item()):
        raise HostError(
            f"{call}: the network has the tensors that its config builds and computes something else; nothing was "
            "written",
            got=f"logits up to {apart:.3g} apart",
            fix=fix,
        )


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """What the model gives in eval mode; its modules' modes are left as they were."""
    with evaluating(model), torch.no_grad():
        given: Tensor = model(images)
    return given.float()
