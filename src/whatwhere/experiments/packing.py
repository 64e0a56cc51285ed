"""A finished trial, read back and measured again, with what is to be said of it: plain data for a folder of its own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from whatwhere.data import Splits, load
from whatwhere.errors import RunError
from whatwhere.experiments.arm_names import CONTROLS, YARDSTICK, parse_arm
from whatwhere.experiments.arms import build_network
from whatwhere.experiments.controls import width_for
from whatwhere.experiments.environment import device
from whatwhere.experiments.finished import trial_result, trial_spec, trial_weights
from whatwhere.experiments.result import BrokenResult, TrialResult, read_result
from whatwhere.experiments.spec import TrialSpec
from whatwhere.experiments.statistics import Difference, Moments, compare_arms, describe
from whatwhere.train import evaluate

__all__ = ["FinishedTrial", "read_trial"]

# Another device or precision turns a few images; more than this share of them is another network.
_TURNED = 0.005
_UNTOLD = "no statement, for nothing here says how many seeds there were to be"


@dataclass(frozen=True)
class FinishedTrial:
    """A trained network, what builds it again, and what its training came to.

    Args:
        model: with the weights of the best epoch, on the CPU, in eval mode.
        facts: the host's name, its options, and the images it takes: what ``hub.save_network`` asks for.
        trained: Markdown on data, recipe and results.
        metadata: the results for machines, as the head of a model card has them.
    """

    model: nn.Module
    facts: Mapping[str, Any]
    trained: str
    metadata: Mapping[str, Any]


def read_trial(folder: Path, root: Path | None = None) -> FinishedTrial:
    """Rebuild a finished trial's network and look at the test images again.

    The test accuracy that ``result.json`` states must come out within half a point. What is told of the other seeds and
    of the bare host comes from the result files of the trials beside it.

    Args:
        folder: what ``compare`` or ``reproduce`` made for one trial.
        root: where the data are, for those that are read from disk.
    Raises:
        RunError: the folder is no finished trial's; its files do not belong together; its arm is a control whose host
            no name stands for.
        DataError, HostError: the data cannot be had, or the host cannot be built.
    """
    call = f"pack({str(folder)!r})"
    spec = trial_spec(folder, call)
    if spec.task == "detect":
        raise RunError(
            f"{call}: a model card is written for classifiers alone",
            fix="use the trial's folder itself: whatwhere detect evaluate or predict takes it",
        )
    result = trial_result(folder, spec, call)
    control = parse_arm(spec.gate)
    if control.gate in CONTROLS and control.gate != "wider":
        raise RunError(
            f"{call}: the arm {spec.gate!r} has blocks of the host where gates would stand, and no config can say that",
            fix="pack a trial of the bare host, of a gate or of a wider host",
        )
    splits = load(spec.data, root=root, seed=spec.split_seed, limit=spec.limit, image_size=spec.image_size)
    shape, classes = splits.train.shape, len(splits.classes)
    model = build_network(spec, shape, classes).model
    model.load_state_dict(trial_weights(folder, model.state_dict(), call))
    again = _measured(model, splits, spec, result, call)
    options: dict[str, Any] = {"num_classes": classes, "in_channels": shape[0], "stem": spec.stem}
    facts = {"host": spec.host, **options, "image_size": shape[1:], "classes": splits.classes}
    facts |= {"mean": splits.mean, "std": splits.std}
    if control.gate == "wider":
        facts["width"] = width_for(spec.host, control.parameters or 0, **options)
    return FinishedTrial(model, facts, _told(folder, spec, result, splits, again), _metadata(spec, result.score))


def _measured(model: nn.Module, splits: Splits, spec: TrialSpec, result: TrialResult, call: str) -> float:
    """Share of the test images right, now."""
    layout = spec.recipe.channels_last
    again = evaluate(model.to(device()), splits.test.to(device()), splits, channels_last=layout).accuracy
    model.to("cpu")
    if abs(again - result.score) > _TURNED:
        raise RunError(
            f"{call}: best.safetensors does not give the test accuracy that result.json states",
            got=f"{100 * again:.2f} %, where result.json has {100 * result.score:.2f} %",
            fix="one of the two files, or the data, is not what it was when the trial was finished",
        )
    return again


def _metadata(spec: TrialSpec, accuracy: float) -> dict[str, Any]:
    measured = {
        "task": {"type": "image-classification"},
        "dataset": {"name": _data_name(spec.data), "type": _data_name(spec.data)},
        "metrics": [{"type": "accuracy", "value": round(accuracy, 6)}],
    }
    return {"model-index": [{"name": spec.name, "results": [measured]}]}


def _data_name(data: str) -> str:
    """Of a folder its last part: the rest is the business of whoever trained there."""
    kind, colon, path = data.partition(":")
    return f"{kind}:{Path(path).name}" if colon else data


def _told(folder: Path, spec: TrialSpec, result: TrialResult, splits: Splits, again: float) -> str:
    sizes = zip(
        ("train on", "choose the epoch by", "test"), (splits.train, splits.validation, splits.test), strict=True
    )
    images = ", ".join(f"{len(part):,} to {use}" for use, part in sizes)
    recipe = asdict(spec.recipe)
    lines = [
        f"On `{_data_name(spec.data)}` (images: {images}), with seed {spec.seed}: arm `{_arm(spec)}`, epochs: "
        f"{result.epochs}, of which the one best on the validation images, epoch {result.best_epoch}, is kept here.",
        "",
        "| recipe | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in recipe.items()),
        "",
        f"Trained in {result.train_seconds:,.0f} s on {result.environment.get('device')}, with versions "
        f"{json.dumps(result.environment.get('versions'))}, commit {result.environment.get('commit')}.",
        "",
        "### Results",
        "",
        f"These weights: **{100 * result.score:.2f} %** of the test images right (validation: "
        f"{100 * result.validation_score:.2f} %). Measured again from the files when they were packed: "
        f"{100 * again:.2f} %.",
        "",
        *_seeds(folder.parent, spec, result),
        "",
        f"{result.parameters:,} parameters, {result.macs:,} multiply-accumulates for an image.",
    ]
    return "\n".join(lines)


def _arm(spec: TrialSpec) -> str:
    place = "" if spec.at is None else f"@{spec.at}"
    return f"{spec.gate}{place}{'' if spec.start == 'preset' else f'/{spec.start}'}"


def _seeds(parent: Path, spec: TrialSpec, result: TrialResult) -> list[str]:
    """What all seeds of the arm came to, and the bare host beside them."""
    arms: dict[str, dict[int, float]] = {_arm(spec): {spec.seed: 100 * result.score}}
    for other in _beside(parent, spec):
        arms.setdefault(_arm(other.spec), {})[other.spec.seed] = 100 * other.score
    mine, bare = arms[_arm(spec)], arms.get(YARDSTICK)
    lines = ["| arm | n | mean | sd | 95 % interval of the mean | seeds |", "|---|---:|---:|---:|---:|---|"]
    lines.append(_row(_arm(spec), mine))
    if spec.gate == YARDSTICK or bare is None:
        return [*lines, "", *_caution(len(mine))]
    lines.append(_row("the bare host", bare))
    declared = _declared(parent)
    difference = compare_arms(arms, declared=declared)[_arm(spec)]
    if declared is None:  # as in a folder of trials that several tables share
        difference = replace(difference, p_holm=None, verdict=_UNTOLD)
    return [*lines, "", _compared(difference, len(arms) - 1), *_caution(len(mine))]


def _row(name: str, values: Mapping[int, float]) -> str:
    found: Moments = describe(list(values.values()))
    spread = "–" if found.sd is None else f"{found.sd:.2f}"
    interval = "–" if found.low is None else f"{found.low:.2f} to {found.high:.2f}"
    seeds = ", ".join(f"{seed}: {value:.2f}" for seed, value in sorted(values.items()))
    return f"| {name} | {found.n} | {found.mean:.2f} | {spread} | {interval} | {seeds} |"


def _compared(found: Difference, arms: int) -> str:
    if found.mean is None:
        return f"Against the bare host: {found.verdict}."
    interval = "" if found.low is None else f", 95 % interval {found.low:+.2f} to {found.high:+.2f}"
    p = "" if found.p_holm is None else f", p = {found.p_holm:.3g} after Holm over {arms} arm{'s' * (arms > 1)}"
    return (
        f"Against the bare host, paired over {found.n} seed{'s' * (found.n > 1)}: {found.mean:+.2f} percentage points"
        f"{interval}{p}: {found.verdict}."
    )


def _caution(n: int) -> list[str]:
    if n > 1:
        return ["", "The seeds differ by what the standard deviation says; this folder holds one of them."]
    return ["", "One seed was trained, so nothing is known of how much another would differ."]


def _beside(parent: Path, spec: TrialSpec) -> Sequence[TrialResult]:
    """Valid results of the other arms and seeds of the same host, data and recipe."""
    found = []
    for path in sorted(parent.glob("*/trial.json")):
        try:
            other = trial_spec(path.parent, "")
            result = read_result(path.parent / "result.json", other)
        except (RunError, BrokenResult, OSError):
            continue
        if result is not None and _setting(other) == _setting(spec) and other != spec:
            found.append(result)
    return found


def _setting(spec: TrialSpec) -> TrialSpec:
    return replace(spec, gate="", at=None, start="preset", seed=0)


def _declared(parent: Path) -> int | None:
    """How many seeds each arm was to have, where the folder says so."""
    try:
        seeds = json.loads((parent / "comparison.json").read_text())["seeds"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return seeds if isinstance(seeds, int) else None
