"""`whatwhere detect`: train, evaluate and use detectors with gates."""

from dataclasses import dataclass

import tyro

from whatwhere.cli.detect_evaluate import Evaluate
from whatwhere.cli.detect_predict import Predict
from whatwhere.cli.detect_train import Train

__all__ = ["Detect"]


@dataclass(frozen=True)
class Detect:
    """Detectors with gates: train one, say what COCO and VOC make of it, find objects in pictures."""

    step: tyro.conf.OmitSubcommandPrefixes[Train | Evaluate | Predict]

    @property
    def trains(self) -> bool:
        """Whether a checkpoint goes on where a signal stopped it."""
        return isinstance(self.step, Train)

    def run(self) -> int:
        """Do it.

        Raises:
            WhatwhereError: as each of the three does.
        """
        return self.step.run()
