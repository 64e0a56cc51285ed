"""`whatwhere detect predict`: what is in these pictures?"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from whatwhere.detect import Detections
    from whatwhere.explain.detected import BoxedPicture, Detected

__all__ = ["Predict"]


@dataclass(frozen=True)
class Predict:
    """Find objects in pictures: drawn pictures, COCO's results file, and a page with each gate's maps beside the boxes.

    Pictures are files, folders, patterns in quotes, or data sets: scenes, coco:PATH, voc:PATH, whose objects are drawn
    too and score the gates' maps. A picture that cannot be read is told, and loses none of the others.

    For example: whatwhere detect predict runs/detect/bam-seed0-1a2b3c4d photos --out found
    """

    model: Annotated[Path, tyro.conf.Positional]
    """The folder of a finished trial, as detect train, compare and reproduce make them."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """What to look at."""
    out: Path = Path("detected")
    """Folder for results.json, detected.html with detected.json, and drawn/."""
    least_score: float = 0.3
    """Draw what is at least so sure; results.json and the page have all that is found."""
    limit: int | None = None
    """Look at so many pictures, the first."""
    shown: int = 100
    """Pictures that are drawn and in the page."""
    root: Path | None = None
    """Where coco and VOCdevkit lie."""

    def run(self) -> int:
        """Look, write, and print what was written.

        Raises:
            WhatwhereError: the detector or the pictures cannot be had, or nothing can be written.
        """
        from whatwhere.errors import RunError
        from whatwhere.experiments.atomic import check_writable
        from whatwhere.experiments.environment import device
        from whatwhere.experiments.finished_detector import open_detector
        from whatwhere.explain.boxed_sources import boxed_pictures
        from whatwhere.explain.detecting import look_at

        if not self.images:
            fix = "whatwhere detect predict MODEL photos; or scenes, coco:PATH, voc:PATH"
            raise RunError("detect predict: pictures must be named", fix=fix)
        for name, least in (("limit", 1), ("shown", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise RunError(
                    f"detect predict --{name} {value}: it is {least} or more", fix=f"--{name} {max(least, 1)}"
                )
        if not 0 <= self.least_score <= 1:
            rule = f"detect predict --least-score {self.least_score}: a score lies between 0 and 1"
            raise RunError(rule, fix="--least-score 0.3")
        opened = open_detector(self.model, f"detect predict({str(self.model)!r})")
        check_writable(self.out / "drawn", f"detect predict(out={str(self.out)!r})")
        problems: list[str] = []
        seen: list[tuple[int | str, Detections]] = []
        pictures = boxed_pictures(
            self.images,
            problems,
            classes=opened.classes,
            categories=opened.categories,
            limit=self.limit,
            root=self.root,
        )
        detected = look_at(
            opened.model.to(device()),
            _watched(pictures, self.limit),
            opened.classes,
            name=opened.name,
            source=" ".join(self.images),
            shown=self.shown,
            each=lambda sight: seen.append((_name(sight.picture), sight.found)),
        )
        self._write(replace(detected, problems=(*detected.problems, *problems)), seen, opened.categories)
        return 0

    def _write(
        self, detected: "Detected", seen: "Sequence[tuple[int | str, Detections]]", categories: Sequence[int]
    ) -> None:
        from whatwhere.detect.drawing import draw, enlarged
        from whatwhere.detect.results_file import write_results
        from whatwhere.report import write_detected

        write_results(self.out / "results.json", [name for name, _ in seen], [found for _, found in seen], categories)
        for number, sight in enumerate(detected.sights):
            picture, found, truth = enlarged(sight.picture.pixels, sight.found, sight.picture.truth)
            drawn = draw(picture, found, detected.classes, truth=truth, least_score=self.least_score)
            drawn.save(self.out / "drawn" / f"{number:04d}.png")
        for path in (*write_detected(detected, self.out / "detected.html"), self.out / "results.json"):
            print(path)
        if detected.sights:
            print(f"{self.out / 'drawn'}/: {len(detected.sights)} pictures")
        for problem in detected.problems:
            print(problem, file=sys.stderr)


def _name(picture: "BoxedPicture") -> int | str:
    return picture.name if picture.id is None else picture.id


def _watched(pictures: "Iterator[BoxedPicture]", total: int | None) -> "Iterator[BoxedPicture]":
    """With a bar on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(pictures, "looking", total, console=console, transient=True, disable=not console.is_terminal)
