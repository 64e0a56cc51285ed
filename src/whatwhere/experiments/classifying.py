"""What a comparison of classifiers asks of data and networks."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere.data import Splits, load, normalise
from whatwhere.experiments.arms import Arm, build_arm, settled
from whatwhere.experiments.spec import Comparison, TrialSpec
from whatwhere.explain import diagnose
from whatwhere.train import Recipe, Trained
from whatwhere.train.feeding import in_order
from whatwhere.train.ranks import Ranks

__all__ = ["Classifying"]

# Images that the gates are shown when all is done, and with each of them switched off in turn.
_LOOKED_AT, _SWITCHED = 128, 32


class Classifying:
    """Labelled images: `load`, ``hosts.build``, and the share of test images that are right."""

    def measures(self, splits: Splits) -> tuple[str, ...]:
        """What is measured on the test images; arms are compared by the first."""
        return "accuracy", "top5"

    def load(self, comparison: Comparison, root: Path | None) -> Splits:
        """The images."""
        return load(
            comparison.data,
            root=root,
            seed=comparison.split_seed,
            limit=comparison.limit,
            image_size=comparison.image_size,
        )

    def settled(self, comparison: Comparison, splits: Splits) -> Comparison:
        """The comparison with every choice made that waits for the data."""
        return settled(comparison, splits.name, splits.train.shape, len(splits.classes))

    def build(self, spec: TrialSpec, splits: Splits) -> Arm:
        """The network with its gates."""
        return build_arm(spec, splits)

    def dense(self, model: nn.Module, splits: Splits) -> tuple[nn.Module, tuple[int, int, int]]:
        """What is counted and timed, and the image it takes: all of the network."""
        return model, splits.train.shape

    def learnt(self, spec: TrialSpec, splits: Splits, model: nn.Module) -> Splits:
        """What ``train`` takes."""
        return splits

    def outcome(self, trained: Trained) -> dict[str, Any]:
        """The fields of a result."""
        return asdict(trained)

    def shown(self, model: nn.Module, splits: Splits, recipe: Recipe, count: int) -> tuple[Tensor, Tensor]:
        """The first validation images as the network takes them, and their labels."""
        where = next(model.parameters()).device
        images, labels = next(in_order(splits.validation, count, Ranks(), where))
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        return normalise(images, splits.mean, splits.std).contiguous(memory_format=layout), labels

    def seen_by_gates(self, model: nn.Module, splits: Splits, recipe: Recipe) -> tuple[Mapping[str, Any], ...]:
        """What the trained gates do to one batch of validation images, and what is lost without each."""
        shown = self.shown(model, splits, recipe, _LOOKED_AT)
        return tuple(one.to_json() for one in diagnose(model, [shown], probe=_SWITCHED))
