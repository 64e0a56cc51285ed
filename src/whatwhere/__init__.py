"""Attention gates for convolutional networks: what to look at, and where.

The public names are loaded on first use, so that the command line can answer before torch is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whatwhere.attach import (
        Folding,
        Plan,
        Site,
        attach_,
        detach_,
        disabled,
        fold_norms,
        host_state_dict,
        load_gates,
        plan,
        save_gates,
        status,
        unfold_norms,
    )
    from whatwhere.errors import WhatwhereError
    from whatwhere.explain.diagnosing import diagnose
    from whatwhere.explain.recording import record
    from whatwhere.explain.with_maps import WithMaps
    from whatwhere.gates import BAM, CBAM, SE, ChannelGate, Gate, Maps, SpatialGate
    from whatwhere.hub import load_network, load_released, save_network
    from whatwhere.ops import backend

__version__ = "0.1.0"

__all__ = [
    "BAM",
    "CBAM",
    "SE",
    "ChannelGate",
    "Folding",
    "Gate",
    "Maps",
    "Plan",
    "Site",
    "SpatialGate",
    "WhatwhereError",
    "WithMaps",
    "attach_",
    "backend",
    "detach_",
    "diagnose",
    "disabled",
    "fold_norms",
    "host_state_dict",
    "load_gates",
    "load_network",
    "load_released",
    "plan",
    "record",
    "save_gates",
    "save_network",
    "status",
    "unfold_norms",
]

_HOMES = {
    "WhatwhereError": "errors",
    "backend": "ops",
    **dict.fromkeys(("WithMaps", "diagnose", "record"), "explain"),
    **dict.fromkeys(("BAM", "CBAM", "SE", "ChannelGate", "Gate", "Maps", "SpatialGate"), "gates"),
    **dict.fromkeys(("load_network", "load_released", "save_network"), "hub"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'whatwhere' has no attribute {name!r}")
    return getattr(import_module(f"whatwhere.{_HOMES.get(name, 'attach')}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
