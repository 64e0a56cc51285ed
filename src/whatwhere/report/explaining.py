"""From an explanation to its two files: the page, and its numbers as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whatwhere.errors import RunError
from whatwhere.experiments.atomic import check_writable
from whatwhere.explain.explanation import Explanation, Network, Shown
from whatwhere.report.explained import page
from whatwhere.report.writing import need, write

__all__ = ["check_page", "check_place", "write_explanation"]


def check_page(out: Path, figures: Path | None = None) -> None:
    """See, before the work is done, that the page, its numbers and the figures could be written.

    Raises:
        RunError: a place is taken, would not be taken for a page, or takes no files; or a library is missing.
    """
    need("explain", "jinja2", "scipy", "torchcam", "PIL", "matplotlib")
    check_place("explain", out)
    if figures is not None:
        check_writable(figures, f"explain(figures={str(figures)!r})")


def check_place(verb: str, out: Path) -> None:
    """See that a page could go to ``out`` and its numbers beside it.

    Raises:
        RunError: in the name of ``verb``.
    """
    call = f"{verb}(out={str(out)!r})"
    if out.is_dir():
        raise RunError(f"{call}: this is a folder", fix=f"--out {out / f'{verb}ed.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise RunError(f"{call}: a page's name ends in .html", fix=f"--out {out.with_suffix('.html')}")
    if out.with_suffix(".json").is_dir():
        raise RunError(
            f"{call}: its numbers would go where there is a folder",
            got=str(out.with_suffix(".json")),
            fix="another name by --out",
        )
    check_writable(out.parent, call)


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
    files = {
        out: page(explanation),
        out.with_suffix(".json"): json.dumps(_plain(explanation), indent=1, allow_nan=False) + "\n",
    }
    for path, text in files.items():
        write("explain", path, text)
    first, second = files
    return first, second


def _plain(explanation: Explanation) -> dict[str, Any]:
    from whatwhere import __version__

    return {
        "whatwhere": __version__,
        "source": explanation.source,
        "method": explanation.method,
        **explanation.settings,
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
    answers = []
    for look, network in zip(shown.looks, networks, strict=True):
        said = zip(look.classes, look.probabilities, strict=True)
        answers.append([{"class": network.classes[number], "probability": share} for number, share in said])
    return {"name": shown.name, "class": shown.label, "answers": answers}
