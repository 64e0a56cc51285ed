"""What do training, evaluating and gating a detector cost, beside the plain loops that torchvision's scripts have?

``training``: steps of the same detector on the same JPEG files, reading included, by our engine and by a plain loop.
``evaluation``: files to COCO's AP, by ours and by a plain loop with pycocotools; the figures must agree. ``inference``:
Faster R-CNN R-50 FPN bare and with gates, by the fast kernels and by plain torch. ``loading``: JPEG files of 640
pixels, read and changed as SSD's are, on one core. ``scoring``: as many images as COCO's validation part has. The
contenders take turns in one process. Files are drawn for the occasion.

    python benchmarks/detection.py                  benchmarks/results/detection.json
    python benchmarks/detection.py --rounds 2 --out /tmp/x.json     a quick look
"""

import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import tyro
from detect_bench.reference import Plain, plain_scores
from detect_bench.scoring import evaluation_speed
from gate_bench.timing import Turn, race, ratio, times
from torch import nn

import whatwhere as ww
from whatwhere.data import scenes_many
from whatwhere.data.box_readers import BoxReaders
from whatwhere.data.box_transforms import Augmentation
from whatwhere.data.detection import DetectionSplits
from whatwhere.data.detection_parts import FilePart
from whatwhere.detect import Detection, build, coco_scores, evaluate
from whatwhere.experiments.environment import environment
from whatwhere.train import Recipe
from whatwhere.train.optimiser import build_optimiser
from whatwhere.train.ranks import Ranks
from whatwhere.train.step import Stepper
from whatwhere.train.tally import Tally

RESULTS = Path(__file__).parent / "results" / "detection.json"
DETECTORS = {"ssdlite320-mobilenet-v3": 320}
BATCH, STEPS, IMAGES, FILE_SIZE = 8, 2, 32, 400
GATED, INFERENCE_SIZE = "fasterrcnn-resnet50-fpn", 320
SAME = 1e-3


def files(folder: Path, count: int, size: int) -> FilePart:
    """Scenes as JPEG files."""
    from PIL import Image

    part = scenes_many.generate_many(count, seed=0, image_size=size)
    paths = [str(folder / f"{size}-{i}.jpg") for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(np.ascontiguousarray(part.image(i).permute(1, 2, 0).numpy())).save(path, quality=90)
    return FilePart("benchmark", list(range(count)), paths, part.sizes.clone(), part.known)


class Ours:
    """Steps by the engine's own parts."""

    def __init__(self, model: nn.Module, part: FilePart) -> None:
        classes = scenes_many.CLASSES
        splits = DetectionSplits("files", classes, tuple(range(len(classes))), part, part, part, "coco")
        recipe = Recipe(batch_size=BATCH, lr=0.001, nesterov=False, weight_decay=1e-4, augment="flip")
        task, here = Detection(splits, model, workers=1), torch.device("cpu")
        model.to(memory_format=torch.channels_last)  # as the engine does
        self.model, self.tally = model, Tally()
        feed = task.feed(recipe, 0, Ranks(), here)
        self.batches = itertools.chain.from_iterable(feed.epoch(number, first_step=0) for number in itertools.count(1))
        optimiser = build_optimiser(model, recipe)
        self.stepper = Stepper(task.forward(model, recipe, here, BATCH), optimiser, recipe, Ranks(), _Accelerator())

    def steps(self, count: int) -> None:
        """So many of them."""
        self.model.train()
        for _ in range(count):
            self.stepper.take(next(self.batches), lr=0.001, seed=0, tally=self.tally)
        self.tally.read()


class _Accelerator:
    """As much of Accelerate's as a step in float32 on the CPU asks for."""

    device = torch.device("cpu")

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


def training(part: FilePart, rounds: int) -> Iterator[dict[str, Any]]:
    """Images a second by our engine and by the plain loop."""
    for name, size in DETECTORS.items():
        torch.manual_seed(0)
        ours, plain = (build(name, len(scenes_many.CLASSES), image_size=size) for _ in range(2))
        plain.load_state_dict(ours.state_dict())
        loops = {"whatwhere": Ours(ours, part), "plain": Plain(plain, part, BATCH)}
        turns = {loop: Turn(lambda one=one: one.steps(STEPS)) for loop, one in loops.items()}
        yield from _rows("training", name, turns, rounds)


def evaluation(part: FilePart, rounds: int) -> Iterator[dict[str, Any]]:
    """Files to AP, by ours and by the plain loop."""
    for name, size in DETECTORS.items():
        torch.manual_seed(0)
        model = build(name, len(scenes_many.CLASSES), image_size=size).eval()
        readers = BoxReaders("benchmark", 1)

        def ours(model: nn.Module = model, readers: BoxReaders = readers) -> float:
            jobs = ([(i, 0)] for i in range(len(part)))
            images = (one.image for (one,) in readers.walk(part, jobs, Augmentation()))
            found = evaluate(model, part, batch_size=BATCH, images=images)
            return coco_scores(part, found, scenes_many.CLASSES).ap or 0.0

        def plain(model: nn.Module = model) -> float:
            return plain_scores(model, part, BATCH, len(scenes_many.CLASSES))

        if abs(ours() - plain()) > SAME:
            raise SystemExit(f"{name}: the two evaluations give different figures")
        yield from _rows("evaluation", name, {"whatwhere": Turn(ours), "plain": Turn(plain)}, rounds)


def inference(rounds: int) -> Iterator[dict[str, Any]]:
    """One image through Faster R-CNN, bare and with gates, by both kinds of code."""
    image = [torch.rand(3, INFERENCE_SIZE, INFERENCE_SIZE, generator=torch.Generator().manual_seed(0))]
    turns = {}
    for gate in ("none", "bam", "cbam"):
        torch.manual_seed(0)
        model = build(GATED, 80, image_size=INFERENCE_SIZE).eval()
        if gate != "none":
            ww.attach_(model, gate, start="identity", input_size=(3, INFERENCE_SIZE, INFERENCE_SIZE))
        for code in ("cpu", "reference") if gate != "none" else ("cpu",):

            def run(model: nn.Module = model, code: str = code) -> None:
                with torch.no_grad(), ww.backend(code):
                    model(image)

            turns["plain" if gate == "none" else f"{gate} {code}"] = Turn(run)
    yield from _rows("inference", GATED, turns, rounds)


def loading(part: FilePart) -> dict[str, float]:
    """Images a second that one core reads and changes, by kind of change."""
    found = {}
    for kind in ("flip", "scale", "ssd"):
        readers, jobs = BoxReaders("benchmark", 0), ([(i, i)] for i in range(len(part)))
        start = time.process_time()
        count = sum(len(samples) for samples in readers.walk(part, jobs, Augmentation(kind)))
        found[kind] = count / (time.process_time() - start)
    return found


def _rows(race_name: str, detector: str, turns: dict[str, Turn], rounds: int) -> Iterator[dict[str, Any]]:
    seen = race(turns, rounds)
    for name, seconds in seen.items():
        by_plain = None if name == "plain" else asdict(ratio(seconds, seen["plain"]))
        yield dict(race=race_name, detector=detector, contender=name, times=asdict(times(seconds)), by_plain=by_plain)


def main(rounds: int = 8, out: Path = RESULTS) -> None:
    """Measure everything and write it down."""
    with TemporaryDirectory() as folder:
        part, large = files(Path(folder), IMAGES, FILE_SIZE), files(Path(folder), 64, 640)
        rows = [*training(part, rounds), *evaluation(part, max(2, rounds // 2)), *inference(rounds)]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        passes = [loading(large) for _ in range(3)]
        loaded = {kind: statistics.median(one[kind] for one in passes) for kind in passes[0]}
        scoring = evaluation_speed()
    where = environment()
    libraries = {name: version(name) for name in ("torchvision", "faster-coco-eval", "pycocotools")}
    told = {
        "format": 1,
        "where": {**where, "threads": threads, "versions": {**where["versions"], **libraries}},
        "settings": dict(batch=BATCH, steps=STEPS, images=IMAGES, file=FILE_SIZE, inference=INFERENCE_SIZE),
        "rounds": rounds,
        "rows": rows,
        "loading": loaded,
        "scoring": scoring,
    }
    out.write_text(json.dumps(told, indent=1) + "\n")
    for row in rows:
        print(row["race"], row["detector"], row["contender"], row["times"]["median"], row["by_plain"])
    print(loaded, scoring)


if __name__ == "__main__":
    tyro.cli(main)
