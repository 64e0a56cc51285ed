"""What running a table would take, before anything is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from whatwhere.data import load
from whatwhere.data.detection_loading import full_name, load_detection
from whatwhere.experiments import Comparison, finished_trials
from whatwhere.experiments.arms import settled
from whatwhere.experiments.environment import environment
from whatwhere.experiments.estimate import seconds_per_image
from whatwhere.experiments.grid import Grid
from whatwhere.papers.reproduction import Part, Reproduction

__all__ = ["Forecast", "as_grid", "forecast"]

_Known = tuple[int, tuple[int, int, int], int]

# Training images (those held out for validation are not trained on), channels, rows, columns and classes of the data
# whose images need not be at hand for a forecast.
_KNOWN: Mapping[str, _Known] = {
    "cifar10": (45_000, (3, 32, 32), 10),
    "cifar100": (45_000, (3, 32, 32), 100),
    "imagenet": (1_153_050, (3, 224, 224), 1000),
    "scenes": (7_200, (3, 32, 32), 10),
}
# Likewise of images with boxes; of pixels, the usual number.
_KNOWN_DETECTION: Mapping[str, _Known] = {
    "coco": (106_458, (3, 480, 640), 80),
    "voc": (14_896, (3, 375, 500), 20),
    "scenes": (1_800, (3, 96, 96), 10),
}


@dataclass(frozen=True)
class Forecast:
    """One arm of one host.

    Args:
        folder: of the part.
        arm: its name.
        trials: to run; likewise ``finished``, of those declared.
        images: to train on, over all trials that are not finished.
        seconds: for that, by a training step measured on this device.
    """

    folder: str
    arm: str
    trials: int
    finished: int
    images: int
    seconds: float


def forecast(asked: Reproduction, out: Path, *, root: Path | None = None) -> list[Forecast]:
    """What each arm would take, hosts built and stepped once but nothing trained or written.

    The images of published sets need not be at hand; others are loaded.

    Args:
        asked: what a recipe gives.
        out: where finished trials are looked for.
        root: where the data are.

    Raises:
        DataError, HostError, AttachError, GateError: data, a host or a gate cannot be had.
    """
    return [one for part in asked.parts for one in _of_part(part, out / "trials", root)]


def _of_part(part: Part, trials: Path, root: Path | None) -> list[Forecast]:
    look = _detection_data if part.comparison.task == "detect" else _data
    comparison, images, shape, classes = look(part.comparison, root)
    found = []
    for arm in comparison.gates:
        specs = [comparison.trial(arm, seed) for seed in range(comparison.seeds)]
        finished = len(finished_trials(specs, trials))
        looked_at = (len(specs) - finished) * images * comparison.recipe.epochs
        seconds = looked_at * seconds_per_image(specs[0], shape, classes) if looked_at else 0.0
        found.append(Forecast(part.folder, arm, len(specs), finished, looked_at, seconds))
    return found


def _data(asked: Comparison, root: Path | None) -> tuple[Comparison, int, tuple[int, int, int], int]:
    """The comparison as ``compare`` would settle it, the images of an epoch, their shape and the classes."""
    if asked.data in _KNOWN:
        name, (images, (channels, height, width), classes) = asked.data, _KNOWN[asked.data]
        shape = channels, asked.image_size or height, asked.image_size or width
        images = min(images, asked.limit or images)
    else:
        splits = load(asked.data, root=root, limit=asked.limit, image_size=asked.image_size)
        name, images, shape, classes = splits.name, len(splits.train), splits.train.shape, len(splits.classes)
    return settled(asked, name, shape, classes), images, shape, classes


def _detection_data(asked: Comparison, root: Path | None) -> tuple[Comparison, int, tuple[int, int, int], int]:
    """As ``_data``."""
    if asked.data in _KNOWN_DETECTION:
        images, shape, classes = _KNOWN_DETECTION[asked.data]
        images = min(images, asked.limit or images)
        if asked.data == "scenes" and asked.image_size is not None:
            shape = 3, asked.image_size, asked.image_size
    else:
        splits = load_detection(asked.data, root=root, limit=asked.limit)
        images, classes = len(splits.train), len(splits.classes)
        shape = 3, *splits.train.sizes.median(0).values.tolist()
    return replace(asked, data=full_name(asked.data, root), stem="standard"), images, shape, classes


def as_grid(found: Sequence[Forecast]) -> Grid:
    """The arms and their sum as a table."""
    headers = ("host and data", "arm", "trials", "finished", "images", "time")
    rows = [
        (one.folder, one.arm, str(one.trials), str(one.finished), f"{one.images:,}", _duration(one.seconds))
        for one in found
    ]
    totals = [sum(getattr(one, key) for one in found) for key in ("trials", "finished", "images", "seconds")]
    rows.append(("all", "", str(totals[0]), str(totals[1]), f"{totals[2]:,}", _duration(totals[3])))
    here = environment()
    notes = [
        f"Time: by a forward and a backward of each network measured on {here['device']}, threads: {here['threads']}, "
        "not compiled; data, optimiser and evaluation are not in it.",
    ]
    return Grid(headers, rows, frozenset(headers[:2]), notes)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
