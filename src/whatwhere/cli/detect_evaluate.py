"""`whatwhere detect evaluate`: what COCO and VOC say of a detector, or of a results file."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whatwhere.data.detection import DetectionPart, DetectionSplits
    from whatwhere.detect import Detections, Judged
    from whatwhere.experiments import TrialSpec

__all__ = ["Evaluate"]

_ALL = "--limit 1 or more; without it all are looked at"


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a trained detector, or a results file in COCO's form, on images whose objects are known.

    COCO's twelve figures, those of each class, and, for VOC's data, VOC's mean AP by eleven and by all points. Every
    image of the part counts: results for images or classes that it has not are refused.

    For example: whatwhere detect evaluate runs/detect/bam-seed0-1a2b3c4d --data coco:PATH --out scores
    """

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """The folder of a finished trial, as detect train, compare and reproduce make them."""
    results: Path | None = None
    """Instead: what was found, as a results file."""
    data: str | None = None
    """The images: scenes, coco:PATH, voc:PATH, or coco and voc in ROOT; None: those of the trial."""
    part: Literal["test", "validation", "train"] = "test"
    """Those that are reported, chosen by or learnt from; of the trial's images, as the trial split them. For test,
    the images to learn from need not be there."""
    root: Path | None = None
    """Where coco and VOCdevkit lie."""
    limit: int | None = None
    """Only so many images, the first."""
    image_size: int | None = None
    """Rows and columns of scenes; None: as the trial had them, or 96."""
    batch_size: int = 8
    """Images a forward pass; changes nothing but speed and memory."""
    out: Path | None = None
    """A folder for scores.json, results.json (COCO's form) and curves.png (precision over recall)."""

    def run(self) -> int:
        """Evaluate, print the tables, write files if asked to.

        Raises:
            WhatwhereError: detector, data or results cannot be had, or do not belong together.
        """
        from whatwhere.cli.detect_tables import show
        from whatwhere.detect import judge, numbers, per_class
        from whatwhere.errors import RunError
        from whatwhere.experiments.atomic import check_writable

        if (self.model is None) == (self.results is None):
            got = "neither" if self.model is None else "both"
            raise RunError("detect evaluate: a trial's folder or --results FILE", got=got, fix="name one of them")
        if self.limit is not None and self.limit < 1:
            raise RunError(f"detect evaluate --limit {self.limit}: there must be at least one image", fix=_ALL)
        if self.batch_size < 1:
            rule = f"detect evaluate --batch-size {self.batch_size}: a batch has at least one image"
            raise RunError(rule, fix="--batch-size 1, or more")
        if self.out is not None:
            check_writable(self.out, f"detect evaluate(out={str(self.out)!r})")
        splits, part, found = self._found()
        judged = judge(splits, part, found)
        classes = per_class(judged, splits.categories)
        show(numbers(judged), classes)
        seen = sum(len(one) > 0 for one in found)
        print(f"\n{len(part):,} images of {splits.name}; something was found in {seen:,} of them")
        if self.out is not None:
            self._write(judged, classes, splits, part, found)
        return 0

    def _found(self) -> "tuple[DetectionSplits, DetectionPart, Sequence[Detections]]":
        from whatwhere.detect import evaluate
        from whatwhere.detect.results_file import read_results
        from whatwhere.errors import RunError
        from whatwhere.experiments.finished_detector import open_detector

        if self.results is not None:
            if self.data is None:
                raise RunError("detect evaluate --results: the images must be named", fix="--data coco:PATH")
            splits, part = self._images(self.data, None)
            try:
                return splits, part, read_results(self.results, part, splits.categories)
            except OSError as error:
                rule = f"detect evaluate --results {self.results}: the file cannot be read"
                raise RunError(rule, got=error.strerror or str(error)) from error
        assert self.model is not None
        opened = open_detector(self.model, f"detect evaluate({str(self.model)!r})")
        spec = opened.result.spec
        splits, part = self._images(self.data or spec.data, spec)
        if splits.classes != opened.classes:
            both = splits.classes, opened.classes
            here, there = (", ".join(names[:4]) + ", ..." * (len(names) > 4) for names in both)
            raise RunError(
                f"detect evaluate({str(self.model)!r}): the detector was trained for other classes",
                got=f"{len(splits.classes)} in the data ({here}), {len(opened.classes)} in the trial ({there})",
                fix="data with the same classes in the same order",
            )
        from whatwhere.experiments.environment import device

        return splits, part, evaluate(opened.model.to(device()), part, batch_size=self.batch_size)

    def _images(self, data: str, spec: "TrialSpec | None") -> "tuple[DetectionSplits, DetectionPart]":
        import torch

        from whatwhere.data.detection_loading import full_name, load_detection, load_test

        size = self.image_size
        if spec is not None and data == "scenes":
            size = size or spec.image_size
        if self.part == "test":
            splits = load_test(data, root=self.root, image_size=size)
        else:
            split: dict[str, Any] = {}
            if spec is not None and full_name(data, self.root) == spec.data:
                split = {"seed": spec.split_seed, "limit": spec.limit}
            splits = load_detection(data, root=self.root, image_size=size, **split)
        part: DetectionPart = getattr(splits, self.part)
        for note in getattr(part, "notes", ()):
            print(note, file=sys.stderr)
        return splits, part if self.limit is None else part.take(torch.arange(min(self.limit, len(part))))

    def _write(
        self,
        judged: "Judged",
        classes: Any,
        splits: "DetectionSplits",
        part: "DetectionPart",
        found: "Sequence[Detections]",
    ) -> None:
        from whatwhere.detect import numbers
        from whatwhere.detect.curves import draw
        from whatwhere.detect.results_file import write_results
        from whatwhere.experiments.atomic import write_bytes, write_json
        from whatwhere.experiments.environment import environment

        assert self.out is not None
        told = {"format": 1, "data": splits.name, "part": self.part, "images": len(part)}
        source = {"model": None if self.model is None else str(self.model), "environment": environment()}
        write_json(self.out / "scores.json", {**told, **source, "all": numbers(judged), "per_class": classes})
        write_results(self.out / "results.json", part.ids, found, splits.categories)
        write_bytes(self.out / "curves.png", draw(judged.coco.curves))
        print(f"{self.out}/: scores.json, results.json, curves.png", file=sys.stderr)
