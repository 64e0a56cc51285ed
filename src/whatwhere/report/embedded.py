"""An explanation as the page's script reads it."""

from typing import Any

from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Explanation, Look, Network, Shown
from whatwhere.report.encoded import colours, jpeg, quantised, rounded, runs, small_map

__all__ = ["embedded", "site"]


def embedded(explanation: Explanation) -> dict[str, Any]:
    """All that the script draws, as values for JSON: every number finite or None, every array in base64."""
    return {
        "lut": colours(),
        "networks": [
            {"name": network.name, "layer": network.layer, "sites": [site(found) for found in network.diagnoses]}
            for network in explanation.networks
        ],
        "pictures": [_picture(shown, explanation.networks) for shown in explanation.pictures],
    }


def site(found: Diagnosis) -> dict[str, Any]:
    """What is said of a gate beside its map."""
    return {
        "name": found.site,
        "gate": found.gate,
        "size": found.size,
        **{key: rounded(getattr(found, key)) for key in ("low", "high", "sd", "strength")},
    }


def _picture(shown: Shown, networks: tuple[Network, ...]) -> dict[str, Any]:
    return {
        "name": shown.name,
        "label": shown.label,
        "height": shown.pixels.shape[-2],
        "width": shown.pixels.shape[-1],
        "jpeg": jpeg(shown.pixels),
        "mask": None if shown.mask is None else runs(shown.mask),
        "looks": [_look(look, network, shown.label) for look, network in zip(shown.looks, networks, strict=True)],
    }


def _look(look: Look, network: Network, label: str) -> dict[str, Any]:
    names = [network.classes[index] for index in look.classes]
    predicted = max(range(len(names)), key=lambda place: look.probabilities[place])
    sites = [look.sites[found.site] for found in network.diagnoses]
    return {
        "classes": names,
        "probabilities": [rounded(value) for value in look.probabilities],
        "predicted": predicted,
        # a label that is no output of the network can be neither met nor missed
        "right": names[predicted] == label if label in network.classes else None,
        "cams": [small_map(cam) for cam in look.cams],
        "sites": [
            {
                "positions": None if site.positions is None else small_map(site.positions),
                "channels": None if site.channels is None else quantised(site.channels),
            }
            for site in sites
        ],
    }
