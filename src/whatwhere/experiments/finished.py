"""The files of a finished trial, read back and not believed without a look.

Every function takes the call as the user wrote it, for messages.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from whatwhere.errors import RunError, closest
from whatwhere.experiments.result import BrokenResult, TrialResult, read_result
from whatwhere.experiments.spec import TrialSpec

__all__ = ["trial_result", "trial_spec", "trial_weights"]


def trial_spec(folder: Path, call: str) -> TrialSpec:
    """What ``trial.json`` says.

    Raises:
        RunError: there is none, or none that can be read.
    """
    try:
        value = json.loads((folder / "trial.json").read_text())
        spec = TrialSpec.from_json({name: part for name, part in value.items() if name not in _ABOUT})
    except (FileNotFoundError, NotADirectoryError):
        within = sorted(path.parent.name for path in folder.glob("*/trial.json")) if folder.is_dir() else []
        raise RunError(
            f"{call}: there is no trial in that folder",
            got=f"a folder of {len(within)} trials" if within else "no trial.json",
            closest=closest(folder.name, within) or within[:3],
            fix="name the folder of one trial: the one that has trial.json, result.json and best.safetensors",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError) as error:
        raise RunError(f"{call}: trial.json cannot be read", got=str(error).partition("\n")[0]) from error
    return spec


_ABOUT = ("format", "name", "hash")


def trial_result(folder: Path, spec: TrialSpec, call: str) -> TrialResult:
    """What ``result.json`` says of that trial.

    Raises:
        RunError: the trial is not finished, or the file cannot be believed.
    """
    try:
        result = read_result(folder / "result.json", spec)
    except BrokenResult as error:
        raise RunError(f"{call}: result.json cannot be believed: {error}") from error
    if result is None:
        raise RunError(
            f"{call}: the trial is not finished", got="no result.json", fix="make the call that began it again"
        )
    return result


def trial_weights(folder: Path, wanted: Mapping[str, Tensor], call: str) -> dict[str, Tensor]:
    """The tensors of ``best.safetensors``, of the names and shapes ``wanted``.

    Raises:
        RunError: the file is missing or damaged, or of another network.
    """
    from safetensors.torch import load_file

    fix = "the trial's folder is not whole: copy it again"
    try:
        found = dict(load_file(folder / "best.safetensors"))
    except FileNotFoundError:
        raise RunError(f"{call}: there is no best.safetensors", fix=fix) from None
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"{call}: best.safetensors is damaged", got=str(error).partition("\n")[0], fix=fix) from error
    for name in {**wanted, **found}:
        here, there = (tuple(one[name].shape) if name in one else "missing" for one in (wanted, found))
        if here != there:
            raise RunError(
                f"{call}: best.safetensors is not of this trial's network",
                got=f"{name!r} is {there} in the file and {here} in the network",
                fix=fix,
            )
    odd = next((name for name, one in found.items() if one.is_floating_point() and not one.isfinite().all()), None)
    if odd is not None:
        raise RunError(f"{call}: best.safetensors holds numbers that are not finite", got=f"{odd!r}", fix=fix)
    return found
