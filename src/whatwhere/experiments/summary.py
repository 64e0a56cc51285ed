"""Everything that a comparison found, in one JSON-able dictionary."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from whatwhere.experiments.arm_names import YARDSTICK
from whatwhere.experiments.environment import environment
from whatwhere.experiments.facts import ArmFacts
from whatwhere.experiments.measures import MEASURES
from whatwhere.experiments.power import POWER
from whatwhere.experiments.resampling import smallest_sign_flip_p
from whatwhere.experiments.result import TrialResult
from whatwhere.experiments.spec import Comparison
from whatwhere.experiments.statistics import LEVEL, Difference, compare_arms, describe
from whatwhere.experiments.tasks import kind_of

__all__ = ["summarise"]


def summarise(
    comparison: Comparison, facts: Mapping[str, ArmFacts], results: Sequence[TrialResult], splits: Any
) -> dict[str, Any]:
    """Measures (percent), paired differences (percentage points) and costs of all arms.

    "measure" names the one that arms are compared by; each is a key of an arm. An arm's "gate" is its name, with place,
    start and options as it was asked for. Costs are per image and in float32, whatever the precision of training.

    Args:
        comparison: what was asked for.
        facts: one entry for each of its arms.
        results: the finished trials; missing ones are listed under ``pending``.
        splits: the data, for the number of images.
    """
    names = kind_of(comparison.task).measures(splits)
    measured = {name: _values(comparison, results, name) for name in names}
    values = measured[names[0]]
    differences = compare_arms(values, YARDSTICK, declared=comparison.seeds)
    pending = [
        comparison.trial(arm, seed).name
        for seed in range(comparison.seeds)
        for arm in comparison.gates
        if seed not in values[arm]
    ]
    here, environments = environment(), _distinct(result.environment for result in results)
    order = [YARDSTICK, *differences]
    arms = [
        _arm(comparison, arm, facts[arm], {name: of[arm] for name, of in measured.items()}, differences.get(arm))
        for arm in order
    ]
    return {
        "format": 1,
        "measure": names[0],
        "comparison": comparison.to_json(),
        "images": {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)},
        "summarised_on": here,
        "trained_on": environments,
        "pending": pending,
        "notes": [
            *_notes(comparison, facts, splits, here, names[0]),
            *_statements(comparison.seeds, differences),
            *_caveats(pending, environments),
        ],
        "arms": arms,
    }


def _values(comparison: Comparison, results: Sequence[TrialResult], measure: str) -> dict[str, dict[int, float]]:
    """A measure as percent by arm and seed, those without one left out.

    A result belongs to the arms whose trial it is, whatever its gate is called.
    """
    shares = {result.spec.hash: result.measures.get(measure) for result in results}
    found = {trial: 100 * share for trial, share in shares.items() if share is not None}
    return {
        arm: {
            seed: found[trial]
            for seed in range(comparison.seeds)
            if (trial := comparison.trial(arm, seed).hash) in found
        }
        for arm in comparison.gates
    }


def _arm(
    comparison: Comparison,
    arm: str,
    facts: ArmFacts,
    measured: Mapping[str, Mapping[int, float]],
    difference: Difference | None,
) -> dict[str, Any]:
    spec = comparison.trial(arm, 0)
    latency = facts.latency
    values = next(iter(measured.values()))
    return {
        "gate": arm,
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
        "declared": comparison.seeds,
        **{name: asdict(describe(list(of.values()))) if of else None for name, of in measured.items()},
        "seeds": {str(seed): value for seed, value in sorted(values.items())},
        "difference": difference and asdict(difference),
    }


def _notes(
    comparison: Comparison, facts: Mapping[str, ArmFacts], splits: Any, here: Mapping[str, Any], measure: str
) -> list[str]:
    last = comparison.seeds - 1
    seeds = "one seed (0)" if last == 0 else f"{last + 1} paired seeds (0 to {last})"
    batch = facts[YARDSTICK].batch
    return [
        f"{comparison.host} on {comparison.data}, epochs: {comparison.recipe.epochs}, {seeds}: in one seed all arms "
        "see the images in the same order and, where the host is the same, start from the same host weights.",
        f"The epoch was chosen on the validation split ({len(splits.validation)} images); the test split "
        f"({len(splits.test)} images) was read once a trial.",
        f"Test {MEASURES[measure]} in percent, mean ± standard deviation. Differences are to {YARDSTICK}, in "
        "percentage points, with the 95 % t interval over paired seeds; a verdict rests on the paired t test at 5 %, "
        "Holm-corrected over the arms, and is given when all declared seeds are in.",
        f"Per image: MACs of a forward; kept, the bytes that training at batch {comparison.recipe.batch_size} keeps "
        f"for backward in float32; ms, the median of forwards at batch {batch}, arms interleaved, in float32 on "
        f"{here['device']}, threads: {here['threads']}."
        + (" Of detectors: trunk, pyramid and heads." if comparison.task == "detect" else ""),
    ]


def _statements(seeds: int, differences: Mapping[str, Difference]) -> list[str]:
    """What the tests could have found, and what two others say that need no normal distribution."""
    tested = {arm: one for arm, one in differences.items() if one.detectable is not None}
    if not tested:
        return []
    level = "5 %" if len(differences) == 1 else f"5 % / {len(differences)} arms"
    least = smallest_sign_flip_p(seeds)
    never = f"; with {seeds} seeds it cannot be below {least:.3g}, whatever the gain" if least > 1 - LEVEL else ""
    others = "; ".join(
        f"{arm} [{one.bootstrap_low:+.2f}, {one.bootstrap_high:+.2f}], p {one.permutation_p:.3g}"
        for arm, one in tested.items()
    )
    return [
        f"Detectable: the true difference that {seeds} seeds show with probability {100 * POWER:.0f} % at {level}, "
        "given how much the differences vary, which few seeds tell only roughly. Where it is more than you care about, "
        '"no significant difference" is no evidence that there is none.',
        "Without the normal distribution: 95 % percentile bootstrap intervals (too narrow for few seeds) and p of the "
        f"sign-flip test, not corrected{never}: {others}.",
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
