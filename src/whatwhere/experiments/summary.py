"""Everything that a comparison found, in one JSON-able dictionary."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from whatwhere.data import Splits
from whatwhere.experiments.environment import environment
from whatwhere.experiments.facts import ArmFacts
from whatwhere.experiments.result import TrialResult
from whatwhere.experiments.spec import YARDSTICK, Comparison
from whatwhere.experiments.statistics import Difference, compare_arms, describe

__all__ = ["summarise"]


def summarise(
    comparison: Comparison, facts: Mapping[str, ArmFacts], results: Sequence[TrialResult], splits: Splits
) -> dict[str, Any]:
    """Accuracies (percent), paired differences (percentage points) and costs of all arms.

    Costs are per image and in float32, whatever the precision of training.

    Args:
        comparison: what was asked for.
        facts: one entry for each of its gates.
        results: the finished trials; missing ones are listed under ``pending``.
        splits: the data, for the number of images.
    """
    values: dict[str, dict[int, float]] = {gate: {} for gate in comparison.gates}
    for result in results:
        values[result.spec.gate][result.spec.seed] = 100 * result.test_accuracy
    differences = compare_arms(values)
    pending = [spec.name for spec in comparison.trials() if spec.seed not in values[spec.gate]]
    here, environments = environment(), _distinct(result.environment for result in results)
    order = [YARDSTICK, *(gate for gate in comparison.gates if gate != YARDSTICK)]
    arms = [_arm(comparison, gate, facts[gate], values[gate], differences.get(gate)) for gate in order]
    return {
        "format": 1,
        "comparison": comparison.to_json(),
        "images": {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)},
        "summarised_on": here,
        "trained_on": environments,
        "pending": pending,
        "notes": _notes(comparison, facts, splits, here) + _caveats(pending, environments),
        "arms": arms,
    }


def _arm(
    comparison: Comparison, gate: str, facts: ArmFacts, values: Mapping[int, float], difference: Difference | None
) -> dict[str, Any]:
    spec = comparison.trial(gate, 0)
    latency = facts.latency
    return {
        "gate": gate,
        "at": spec.at,
        "start": spec.start,
        "sites": list(facts.sites),
        "parameters": facts.cost.parameters,
        "macs_per_image": facts.cost.macs,
        "bytes_kept_per_image": facts.cost.bytes_kept,
        "ms_per_image": latency and latency.median_ms / facts.batch,
        "ms_per_image_low": latency and latency.low_ms / facts.batch,
        "ms_per_image_high": latency and latency.high_ms / facts.batch,
        "latency_batch": facts.batch,
        "accuracy": asdict(describe(list(values.values()))) if values else None,
        "seeds": {str(seed): value for seed, value in sorted(values.items())},
        "difference": difference and asdict(difference),
    }


def _notes(comparison: Comparison, facts: Mapping[str, ArmFacts], splits: Splits, here: Mapping[str, Any]) -> list[str]:
    last = comparison.seeds - 1
    seeds = "one seed (0)" if last == 0 else f"{last + 1} paired seeds (0 to {last})"
    batch = facts[YARDSTICK].batch
    return [
        f"{comparison.host} on {comparison.data}, epochs: {comparison.recipe.epochs}, {seeds}: in one seed all arms "
        "start from the same host weights and see the images in the same order.",
        f"The epoch was chosen on the validation split ({len(splits.validation)} images); the test split "
        f"({len(splits.test)} images) was read once a trial.",
        f"Accuracies are percent, mean ± standard deviation. Differences are to {YARDSTICK}, in percentage points, "
        "with the 95 % t interval over paired seeds; a verdict rests on the paired t test at 5 %, Holm-corrected over "
        "the arms.",
        f"Per image: MACs of a forward; kept, the bytes that training at batch {comparison.recipe.batch_size} keeps "
        f"for backward in float32; ms, the median of forwards at batch {batch}, arms interleaved, in float32 on "
        f"{here['device']}, threads: {here['threads']}.",
    ]


def _caveats(pending: Sequence[str], environments: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if len(environments) > 1:
        notes.append(
            f"The trials ran in {len(environments)} different environments (versions, device, threads or commit)."
        )
    if pending:
        notes.append(f"Not finished: {', '.join(pending)}.")
    return notes


def _distinct(values: Any) -> list[Mapping[str, Any]]:
    kept: list[Mapping[str, Any]] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return kept
