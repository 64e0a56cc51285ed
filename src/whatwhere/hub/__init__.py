"""Networks from elsewhere and to elsewhere: published checkpoints, and folders that hold a whole network."""

from typing import Any

from whatwhere.hub.config import NetworkConfig
from whatwhere.hub.mixin import hub_network
from whatwhere.hub.network import GatedNetwork, load_network, save_network
from whatwhere.hub.released import Loaded, Moved, load_released

__all__ = [
    "GatedNetwork",
    "HubNetwork",
    "Loaded",
    "Moved",
    "NetworkConfig",
    "load_network",
    "load_released",
    "save_network",
]


def __getattr__(name: str) -> Any:
    if name != "HubNetwork":
        raise AttributeError(f"module 'whatwhere.hub' has no attribute {name!r}")
    return hub_network()
