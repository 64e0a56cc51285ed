"""Folders as `compare` and `reproduce` leave them, with made-up figures: nothing is trained."""

import json
import math
import random
from pathlib import Path

from whatwhere.experiments import Comparison, TrialResult, compare_arms, describe
from whatwhere.experiments.result import write_result
from whatwhere.train import Recipe

ENVIRONMENT = {
    "versions": {"whatwhere": "0.1.0", "torch": "2.12.0", "python": "3.12.1"},
    "device": "cuda (Some GPU)",
    "threads": 8,
    "commit": "0123456789abcdef0123456789abcdef01234567",
}
PLAIN = ("none", "se", "bam", "cbam")


def write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def comparison(arms=PLAIN, seeds=3, epochs=4, host="resnet20") -> Comparison:
    return Comparison(host, tuple(arms), "cifar100", seeds=seeds, recipe=Recipe(epochs=epochs), stem="small")


def gates(place: int, seed: int) -> list[dict]:
    low = 1.0 if place == 2 else 0.0
    return [
        {
            "site": f"layer{stage}.{block}",
            "gate": "BAM(64)" if place == 2 else "CBAM(64)",
            "channels": 16 * 2**stage,
            "size": [32 >> stage, 32 >> stage],
            "strength": None,
            "mean": low + 0.4 + 0.03 * stage + 0.01 * seed,
            "sd": 0.08 * stage,
            "low": low + 0.02,
            "high": low + 0.9,
            "sd_images": 0.02 * stage,
            "sd_within": 0.07 * stage,
            "saturated_low": 0.05 * stage,
            "saturated_high": 0.01,
            "gain": 0.5,
            "flipped": 0.01 * stage + 0.001 * seed,
            "moved": 0.05 * stage,
            "advice": ["switched off, it turns none of 32 predictions; could be taken out"] if stage == 3 else [],
        }
        for stage in (1, 2, 3)
        for block in (0, 1)
    ]


def course(place: int, seed: int, epochs: int) -> list[dict]:
    """Learning curves that look like learning."""
    draw = random.Random(1000 * place + seed)
    lines = []
    for epoch in range(1, epochs + 1):
        done = epoch / epochs
        learnt = 1 - math.exp(-4 * done)
        accuracy = min(0.2 + (0.5 + 0.01 * place) * learnt + draw.gauss(0, 0.012) * (1.1 - done), 1)
        lines.append(
            {
                "epoch": epoch,
                "lr": 0.1 * (1 - done),
                "train_loss": 4.2 * (1 - learnt) + 0.2,
                "train_accuracy": min(accuracy + 0.2 * done, 1),
                "validation_loss": 4.0 * (1 - learnt) + 1 + draw.gauss(0, 0.05),
                "validation_accuracy": accuracy,
                "seconds": 2.0,
                "images_per_second": 20000.0,
            }
        )
    return lines


def history(place: int, seed: int, epochs: int) -> list[dict]:
    """Lines of gates.jsonl: each gate moves less and less and comes to depend on the image."""
    return [
        {
            "epoch": epoch,
            "gates": [
                {
                    **{key: gate[key] for key in ("site", "strength", "mean", "sd")},
                    "sd_images": gate["sd_images"] * epoch / epochs,
                    "drift": None if epoch == 1 else gate["sd"] * (1 + seed) / epoch,
                }
                for gate in gates(place, seed)
            ],
        }
        for epoch in range(1, epochs + 1)
    ]


def write_trial(folder: Path, spec, place: int) -> float:
    """One finished trial; returns its test accuracy in percent."""
    lines = course(place, spec.seed, spec.recipe.epochs)
    trial = folder / spec.name
    write(trial / "trial.json", {"format": 1, "name": spec.name, "hash": spec.hash, **spec.to_json()})
    (trial / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if place:
        looks = history(place, spec.seed, spec.recipe.epochs)
        (trial / "gates.jsonl").write_text("".join(json.dumps(look) + "\n" for look in looks))
    best = max(lines, key=lambda line: line["validation_accuracy"])
    accuracy = round(best["validation_accuracy"] - 0.01, 4)
    result = TrialResult(
        spec=spec,
        sites=("layer1.0", "layer1.1") if place else (),
        test_accuracy=accuracy,
        test_loss=1.5,
        validation_accuracy=best["validation_accuracy"],
        best_epoch=best["epoch"],
        epochs=len(lines),
        train_seconds=2.0 * len(lines),
        images_per_second=20000.0,
        parameters=275572 + 300 * place,
        macs=40556800 + 90000 * place,
        bytes_kept=1519915 + 100000 * place,
        seconds=3.0 * len(lines),
        environment=ENVIRONMENT,
        gates=tuple(gates(place, spec.seed)) if place else (),
    )
    write_result(trial / "result.json", result)
    return 100 * accuracy


def write_summary(folder: Path, asked: Comparison, values: dict, **changes) -> None:
    differences = compare_arms(values)
    arms = []
    for place, arm in enumerate(asked.gates):
        spec, difference = asked.trial(arm, 0), differences.get(arm)
        arms.append(
            {
                "gate": arm,
                "at": spec.at,
                "start": spec.start,
                "sites": ["layer1.0", "layer1.1"] if place else [],
                "parameters": 275572 + 300 * place,
                "macs_per_image": 40556800 + 90000 * place,
                "bytes_kept_per_image": 1519915 + 100000 * place,
                "ms_per_image": 0.5 + 0.1 * (place * 7 % 4),
                "declared": asked.seeds,
                "accuracy": vars(describe(list(values[arm].values()))) if values[arm] else None,
                "seeds": {str(seed): value for seed, value in values[arm].items()},
                "difference": difference and vars(difference),
            }
        )
    summary = {
        "format": 1,
        "comparison": asked.to_json(),
        "images": {"train": 45000, "validation": 5000, "test": 10000},
        "summarised_on": ENVIRONMENT,
        "trained_on": [ENVIRONMENT],
        "pending": [],
        "notes": ["The first note.", "A second one."],
        "arms": arms,
    }
    write(folder / "summary.json", {**summary, **changes})


def made_run(folder: Path, asked: Comparison | None = None, *, finished: int | None = None) -> Comparison:
    """A comparison's folder; ``finished`` seeds of each arm are there, None for all."""
    asked = asked or comparison()
    write(folder / "comparison.json", {"format": 1, **asked.to_json(), "setting": asked.setting()})
    seeds = range(asked.seeds if finished is None else finished)
    values = {
        arm: {seed: write_trial(folder, asked.trial(arm, seed), place) for seed in seeds}
        for place, arm in enumerate(asked.gates)
    }
    write_summary(folder, asked, values)
    return asked


def made_reproduction(folder: Path, **changes) -> dict:
    """A table's folder with one part, two rows that are done and one that is not."""
    asked = made_run(folder / "resnet8-scenes", comparison(("none", "se", "bam"), host="resnet8"))
    moments = {"mean": 20.31, "sd": 0.12, "low": 20.01, "high": 20.61}
    difference = {"n": 3, "mean": 0.4, "low": -0.1, "high": 0.9, "p_holm": 0.2, "verdict": "no significant difference"}

    def row(label, arm, n, error):
        ours = {"parameters": 76000, "macs": 12000000, "n": n, "declared": 3, "difference": difference}
        return {
            "label": label,
            "printed_host": "ResNet50",
            "host": "resnet50",
            "ran_host": "resnet8",
            "arm": arm,
            "at": None if arm == "none" else "bottlenecks",
            "folder": "resnet8-scenes",
            "paper": {"parameters": "24.07", "gmacs": None, "metrics": {"error_top1": error}},
            "ours": {**ours, "metrics": {"error_top1": moments}},
        }

    found = {
        "format": 1,
        "table": "bam/1b",
        "profile": "smoke",
        "command": "whatwhere reproduce bam/1b --profile smoke",
        "title": "BAM table 1b: which branch, and how the two are joined",
        "stand_ins": ["resnet8 stands in for resnet50", "scenes stands in for cifar100"],
        "unverified": ["batch 128"],
        "notes": ["Errors are percent."],
        "folders": ["resnet8-scenes"],
        "rows": [row("baseline", "none", 3, "21.49"), row("both, sum", "bam", 3, "20.00"), row("SE", "se", 1, "21.10")],
        **changes,
    }
    write(folder / "reproduction.json", found)
    assert asked.seeds == 3
    return found
