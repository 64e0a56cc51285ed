"""What the gates of a network do while it is trained: a line an epoch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from whatwhere.experiments.atomic import write_bytes
from whatwhere.explain.recording import Record
from whatwhere.modes import evaluating

__all__ = ["LINES", "GateHistory", "read_history"]

LINES = "gates.jsonl"
_PROFILES = "gates.safetensors"
_FIGURES = ("mean", "sd", "sd_images", "sd_within", "saturated_low", "saturated_high", "entropy", "dead")


class GateHistory:
    """Looks at one batch after every epoch. ``gates.jsonl`` has the figures of each site, as ``Diagnosis`` names them,
    its strength, and its ``drift``: how far its mean profile (of channels, or of positions where it has no other) has
    moved since the epoch before, root mean square. ``gates.safetensors`` has the profiles of the last epoch.

    Args:
        model: with gates; it is looked at in eval mode, and nothing of its training is touched.
        images: as the network takes them: normalised (B, C, H, W), or a detector's list; on its device.
        folder: of the trial.

    Cost: one forward of the batch an epoch.
    """

    def __init__(self, model: nn.Module, images: Any, folder: Path) -> None:
        self._model, self._images, self._folder = model, images, folder

    def note(self, epoch: int) -> None:
        """Write the line of ``epoch``, and drop those of later epochs, which a run that was broken off left.

        Raises:
            RunError: the system refuses.
        """
        before = _profiles(self._folder / _PROFILES, epoch - 1)
        records = Record(self._model)
        with evaluating(self._model), torch.no_grad(), records.watch():
            self._model(self._images)
        profiles, sites = {}, []
        for name, site in records.items():
            seen = site.channels if site.channels is not None else site.positions
            found = site.figures
            figures = {key: found.get(key) for key in _FIGURES}
            drift = None
            if seen is not None:
                profiles[name] = seen.float().mean(0).cpu()
                drift = _apart(profiles[name], before.get(name))
            sites.append({"site": name, "strength": site.strength, **figures, "drift": drift})
        kept = [line for line in read_history(self._folder) if line["epoch"] < epoch]
        lines = [json.dumps(line, allow_nan=False) for line in [*kept, {"epoch": epoch, "gates": sites}]]
        write_bytes(self._folder / LINES, ("\n".join(lines) + "\n").encode())
        write_bytes(self._folder / _PROFILES, save(profiles, {"epoch": str(epoch)}))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a trial's ``gates.jsonl`` that can be read, in their order; none where there is no such file."""
    try:
        lines = (folder / LINES).read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("epoch"), int) and isinstance(entry.get("gates"), list):
            found.append(entry)
    return found


def _profiles(path: Path, epoch: int) -> Mapping[str, Tensor]:
    """Those of that epoch, if the file has them."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("epoch") == str(epoch):
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        pass
    return {}


def _apart(now: Tensor, before: Tensor | None) -> float | None:
    if before is None or before.shape != now.shape:
        return None
    apart = float((now - before).square().mean().sqrt())
    return apart if math.isfinite(apart) else None
