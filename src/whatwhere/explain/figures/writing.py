"""All figures of an explanation, into a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from whatwhere.attach.gated import gated_modules
from whatwhere.errors import RunError
from whatwhere.explain.explanation import Explanation, Shown
from whatwhere.explain.eye import as_input
from whatwhere.explain.figures.cam_grid import cam_grid
from whatwhere.explain.figures.depth import depth
from whatwhere.explain.figures.drawing import save
from whatwhere.explain.figures.hierarchy import Passed, hierarchy
from whatwhere.explain.figures.profiles import profiles
from whatwhere.explain.recording import record
from whatwhere.files import way_out
from whatwhere.hub import GatedNetwork
from whatwhere.modes import evaluating

__all__ = ["passed", "write_figures"]

_ROWS = 6


def write_figures(explanation: Explanation, networks: Mapping[str, GatedNetwork], folder: Path) -> list[Path]:
    """Draw ``cams``, and of networks with gates ``depth``, ``hierarchy`` and ``profiles``: of two, each its own.

    Returns:
        The files, PNG and PDF of each.

    Raises:
        RunError: the folder cannot be written.
    """
    if not explanation.pictures:
        return []
    figures = {"cams": cam_grid(explanation)}
    gated = [name for name, network in networks.items() if gated_modules(network)]
    if gated:
        figures["depth"] = depth(explanation)
    for place, name in enumerate(networks):
        if name not in gated:
            continue
        ending = f"-{place + 1}" if len(gated) > 1 else ""
        figures[f"hierarchy{ending}"] = hierarchy(passed(networks[name], explanation.pictures[:_ROWS]))
        if any(one.channels is not None for look in explanation.pictures for one in look.looks[place].sites.values()):
            figures[f"profiles{ending}"] = profiles(explanation, place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [path for name, figure in figures.items() for path in save(figure, folder / name)]
    except OSError as error:
        raise RunError(
            f"explain(figures={str(folder)!r}): the figures cannot be written",
            got=error.strerror or str(error),
            fix=way_out(error),
        ) from error


def passed(network: GatedNetwork, pictures: Sequence[Shown]) -> list[Passed]:
    """The pictures on their way through the network's gates, one forward for all of them."""
    images = as_input(network, torch.stack([one.pixels[: network.config.in_channels] for one in pictures]))
    with torch.no_grad(), evaluating(network), record(network.network, feature_maps=True) as records:
        network(images)
    seen: dict[str, tuple[Tensor, Tensor, Tensor | None]] = {}
    for name, site in records.items():
        if site.before is not None and site.after is not None:
            factor = None if site.positions is None else site.positions.float().cpu()
            seen[name] = site.before.float().mean(1).cpu(), site.after.float().mean(1).cpu(), factor
    found = []
    for i, one in enumerate(pictures):
        sites = {
            name: (before[i], after[i], None if factor is None else factor[i])
            for name, (before, after, factor) in seen.items()
        }
        found.append(Passed(one.name, one.pixels, one.label, sites))
    return found
