"""The same network with huggingface_hub's methods; that library is imported when the class is first asked for."""

import os
from functools import cache
from pathlib import Path
from typing import Any

from whatwhere.errors import HostError
from whatwhere.hub.folder import CARD, CONFIG, TENSORS, write_network
from whatwhere.hub.network import GatedNetwork

__all__ = ["hub_network"]

_FILES = [CONFIG, TENSORS, CARD]


@cache
def hub_network() -> type[GatedNetwork]:
    """The class ``HubNetwork``: a ``GatedNetwork`` that huggingface_hub's ``PyTorchModelHubMixin`` extends.

    ``save_pretrained(folder)`` and ``from_pretrained(folder)`` work on local folders without a connection, and read and
    write the same three files as ``save`` and ``load``; ``save_pretrained`` keeps a README.md that is there.
    ``push_to_hub("user/name")`` and ``from_pretrained("user/name")`` talk to the Hub. Only those three files are
    fetched: a pickle in a repository is never read.

    Raises:
        HostError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import ModelCard, PyTorchModelHubMixin, snapshot_download
    except ImportError as error:
        raise HostError("HubNetwork: huggingface_hub is not installed", fix="pip install huggingface_hub") from error

    class HubNetwork(GatedNetwork, PyTorchModelHubMixin, library_name="whatwhere"):  # type: ignore[call-arg, misc]
        def save_pretrained(self, save_directory: str | Path, **options: Any) -> Any:
            self.check(f"HubNetwork.save_pretrained({str(save_directory)!r})")  # before the mixin deletes a config
            return super().save_pretrained(save_directory, **options)

        def _save_pretrained(self, save_directory: Path) -> None:
            call = f"HubNetwork.save_pretrained({str(save_directory)!r})"
            write_network(save_directory, self.config, self.network.state_dict(), call)

        def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
            return ModelCard(self.card)

        @classmethod
        def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Any:
            name = str(pretrained_model_name_or_path)
            folder = name if os.path.isdir(name) else snapshot_download(name, allow_patterns=_FILES, **options)
            return cls.load(folder, f"HubNetwork.from_pretrained({name!r})")

    HubNetwork.__module__, HubNetwork.__qualname__ = "whatwhere.hub", "HubNetwork"
    HubNetwork.__doc__ = hub_network.__doc__
    return HubNetwork
