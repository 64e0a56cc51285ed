"""What a network looks at: records of its gates, class activation maps, scores against objects, advice.

Names are loaded on first use: who records gates needs no pictures and no networks by name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whatwhere.explain.activation import METHODS, Cam, Cams, cams
    from whatwhere.explain.detected import BoxedPicture, Detected, Sight
    from whatwhere.explain.detecting import look_at, pictures_of
    from whatwhere.explain.diagnosing import diagnose
    from whatwhere.explain.diagnosis import Diagnosis
    from whatwhere.explain.explanation import Explanation, Look, Network, Score, Shown, SiteLook
    from whatwhere.explain.looking import explain
    from whatwhere.explain.opening import embedded, open_network
    from whatwhere.explain.reading import Picture, Pictures, pictures
    from whatwhere.explain.recording import Record, SiteRecord, record
    from whatwhere.explain.scores import Localisation
    from whatwhere.explain.with_maps import WithMaps

__all__ = [
    "METHODS",
    "BoxedPicture",
    "Cam",
    "Cams",
    "Detected",
    "Diagnosis",
    "Explanation",
    "Localisation",
    "Look",
    "Network",
    "Picture",
    "Pictures",
    "Record",
    "Score",
    "Shown",
    "Sight",
    "SiteLook",
    "SiteRecord",
    "WithMaps",
    "cams",
    "diagnose",
    "embedded",
    "explain",
    "look_at",
    "open_network",
    "pictures",
    "pictures_of",
    "record",
]

_HOMES = {
    **dict.fromkeys(("METHODS", "Cam", "Cams", "cams"), "activation"),
    **dict.fromkeys(("BoxedPicture", "Detected", "Sight"), "detected"),
    **dict.fromkeys(("look_at", "pictures_of"), "detecting"),
    "diagnose": "diagnosing",
    "Diagnosis": "diagnosis",
    **dict.fromkeys(("Explanation", "Look", "Network", "Score", "Shown", "SiteLook"), "explanation"),
    "explain": "looking",
    **dict.fromkeys(("embedded", "open_network"), "opening"),
    **dict.fromkeys(("Picture", "Pictures", "pictures"), "reading"),
    **dict.fromkeys(("Record", "SiteRecord", "record"), "recording"),
    "Localisation": "scores",
    "WithMaps": "with_maps",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'whatwhere.explain' has no attribute {name!r}")
    return getattr(import_module(f"whatwhere.explain.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
