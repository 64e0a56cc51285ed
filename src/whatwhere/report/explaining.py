"""From an explanation to its two files: the page, and its numbers as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.explain.explanation import Explanation, Network, Shown
from whatwhere.report.explained import page
from whatwhere.report.writing import need, write

__all__ = ["check_page", "write_explanation"]


def check_page(out: Path) -> None:
    """See, before the work is done, that its page could be written.

    Raises:
        RunError: ``out`` is a folder, or would not be taken for a page; or a library is missing.
    """
    need("explain", "jinja2", "scipy", "torchcam", "PIL")
    if out.is_dir():
        raise RunError(f"explain(out={str(out)!r}): this is a folder", fix=f"--out {out / 'explained.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise RunError(
            f"explain(out={str(out)!r}): a page's name ends in .html", fix=f"--out {out.with_suffix('.html')}"
        )


def write_explanation(explanation: Explanation, out: Path) -> tuple[Path, Path]:
    """Write the page to ``out``, and its numbers beside it with the ending .json.

    The JSON has the settings; for each network accuracy, scores with n, interval and chance, and the diagnosis of each
    site; and for each picture in the page its name, its class and what each network took it for.

    Returns:
        Both files.

    Raises:
        RunError: as ``check_page``; the system refuses.
    """
    check_page(out)
    numbers = out.with_suffix(".json")
    write("explain", out, page(explanation))
    write("explain", numbers, json.dumps(_plain(explanation), indent=1, allow_nan=False) + "\n")
    return out, numbers


def _plain(explanation: Explanation) -> dict[str, Any]:
    return {
        "source": explanation.source,
        "method": explanation.method,
        "pictures": explanation.count,
        "problems": list(explanation.problems),
        "networks": [_network(one) for one in explanation.networks],
        "shown": [_picture(one, explanation.networks) for one in explanation.pictures],
    }


def _network(network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "layer": network.layer,
        "accuracy": network.accuracy,
        "scores": [asdict(score) for score in network.scores],
        "gates": [one.to_json() for one in network.diagnoses],
    }


def _picture(shown: Shown, networks: tuple[Network, ...]) -> dict[str, Any]:
    said = [
        {
            network.classes[number]: round(share, 6)
            for number, share in zip(look.classes, look.probabilities, strict=True)
        }
        for look, network in zip(shown.looks, networks, strict=True)
    ]
    return {"name": shown.name, "class": shown.label, "probabilities": said}
