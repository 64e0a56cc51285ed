"""How many images a second does training take, beside a plain PyTorch loop and timm's parts?

One network (ResNet-20), one set of images of CIFAR-100's shape, one augmentation (4-pixel crops, mirroring), batch 128,
SGD with Nesterov momentum. The contenders take turns in one process; each turn begins with steps that are not timed.

    python benchmarks/train_step.py                 a table, and benchmarks/results/train_step.json
    python benchmarks/train_step.py --rounds 2 --steps 3 --out /tmp/x.json     a quick look
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torch
import tyro
from rich.console import Console
from rich.table import Table
from timm.data import create_loader
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from whatwhere.data import ImageSet, Splits
from whatwhere.experiments.environment import environment
from whatwhere.hosts import build
from whatwhere.train import Recipe
from whatwhere.train.engine import engine
from whatwhere.train.feeding import Feed
from whatwhere.train.optimiser import build_optimiser
from whatwhere.train.ranks import Ranks
from whatwhere.train.step import Stepper
from whatwhere.train.tally import Tally

RESULTS = Path(__file__).parent / "results" / "train_step.json"
BATCH, CLASSES, IMAGES = 128, 100, 20_000
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
WARM = 3
Turn = Callable[[int], tuple[float, float]]


@dataclass(frozen=True)
class Contender:
    """Whose loop, and what it is allowed."""

    loop: Literal["whatwhere", "plain", "timm"]
    precision: Literal["fp32", "bf16"]
    layout: Literal["channels_last", "contiguous"]
    compiled: bool = False

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.loop} {self.precision} {self.layout}{' compiled' if self.compiled else ''}"


CONTENDERS = (
    Contender("whatwhere", "bf16", "channels_last", compiled=True),
    Contender("whatwhere", "bf16", "channels_last"),
    Contender("plain", "bf16", "channels_last", compiled=True),
    Contender("plain", "bf16", "channels_last"),
    Contender("timm", "bf16", "channels_last", compiled=True),
    Contender("timm", "bf16", "channels_last"),
    Contender("whatwhere", "fp32", "channels_last", compiled=True),
    Contender("whatwhere", "fp32", "channels_last"),
    Contender("plain", "fp32", "contiguous"),
    Contender("timm", "fp32", "contiguous"),
)


class Pictures(Dataset):  # type: ignore[type-arg]
    """The images as torchvision's data sets hand them out: PIL in, whatever ``transform`` gives out."""

    def __init__(self, images: ImageSet, transform: Any = None) -> None:
        self.pixels = images.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def pictures() -> ImageSet:
    """Images of CIFAR-100's shape, the same in every process; what is in them changes no time."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return ImageSet(pixels, torch.randint(CLASSES, (IMAGES,), generator=draw))


def network(layout: str) -> nn.Module:
    """The network all train, from the same weights."""
    torch.manual_seed(0)
    model = build("resnet20", num_classes=CLASSES).train()
    return model.to(memory_format=getattr(torch, _FORMATS[layout]))  # type: ignore[call-overload]


_FORMATS = {"channels_last": "channels_last", "contiguous": "contiguous_format"}


def ours(one: Contender, images: ImageSet, stack: ExitStack) -> Turn:
    """This package's loop without its files: the feed and the step."""
    recipe = Recipe(precision=one.precision, channels_last=one.layout == "channels_last", compile=one.compiled)
    accelerator = stack.enter_context(engine(recipe))
    splits = Splits("made up", tuple(map(str, range(CLASSES))), images, images, images, MEAN, STD)
    model, ranks = network(one.layout), Ranks()
    optimiser = accelerator.prepare_optimizer(build_optimiser(model, recipe))
    stepper = Stepper(model, optimiser, splits, recipe, ranks, accelerator)
    stepper.prepare()
    feed = Feed(images, recipe, 0, ranks, torch.device("cpu"))

    def turn(steps: int) -> tuple[float, float]:
        tally = Tally(ranks)
        batches = feed.epoch(1, first_step=0)

        def step(batch: Any) -> None:
            stepper.take(batch, lr=0.1, seed=1, tally=tally)

        result = timed(batches, step, steps)
        tally.read()
        return result

    return turn


def theirs(one: Contender, images: ImageSet) -> Turn:
    """A loop as tutorials have it, or one of timm's loader, optimiser and meter as its training script has them."""
    model = network(one.layout)
    crop = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    if one.loop == "plain":
        transform = transforms.Compose([*crop, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
        loader: Any = DataLoader(
            Pictures(images, transform), BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
        )
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    else:
        loader = create_loader(
            Pictures(images), (3, 32, 32), BATCH, is_training=True, mean=MEAN, std=STD, num_workers=2, device=_CPU
        )
        loader.dataset.transform = transforms.Compose([*crop, _to_array])
        optimiser = create_optimizer_v2(model, opt="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4)
    run: Any = torch.compile(model) if one.compiled else model
    meter, criterion = AverageMeter(), nn.CrossEntropyLoss()
    bf16 = one.precision == "bf16"

    def step(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        inputs, labels = batch
        if one.layout == "channels_last":
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = criterion(run(inputs), labels)
        loss.backward()
        optimiser.step()
        meter.update(loss.item(), len(labels))

    return lambda steps: timed(iter(loader), step, steps)


_CPU = torch.device("cpu")


def _to_array(picture: Any) -> Any:
    import numpy

    return numpy.rollaxis(numpy.array(picture, dtype=numpy.uint8), 2)


def timed(batches: Iterator[Any], step: Callable[[Any], None], steps: int) -> tuple[float, float]:
    """Images a second over ``steps`` steps after a few to warm up, and the share of the time spent waiting for data."""
    for _ in range(WARM):
        step(next(batches))
    waited, start = 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        step(batch)
    seconds = time.perf_counter() - start
    return BATCH * steps / seconds, waited / seconds


def race(rounds: int, steps: int) -> dict[str, Any]:
    """All contenders, turn by turn."""
    images = pictures()
    with ExitStack() as stack:
        turns = {}
        for one in CONTENDERS:
            print(f"preparing {one.name}", file=sys.stderr)
            turns[one] = ours(one, images, stack) if one.loop == "whatwhere" else theirs(one, images)
            turns[one](1)
        seen: dict[Contender, list[tuple[float, float]]] = {one: [] for one in CONTENDERS}
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for one, turn in turns.items():
                seen[one].append(turn(steps))
    rows = [_row(one, values) for one, values in seen.items()]
    speeds = {row["name"]: row["images_per_second"] for row in rows}
    equal = {
        "eager": _ratio(seen, CONTENDERS[1], (CONTENDERS[3], CONTENDERS[5])),
        "compiled": _ratio(seen, CONTENDERS[0], (CONTENDERS[2], CONTENDERS[4])),
        "compiled against eager": _ratio(seen, CONTENDERS[0], (CONTENDERS[3], CONTENDERS[5])),
        "against their defaults": _ratio(seen, CONTENDERS[0], (CONTENDERS[8], CONTENDERS[9])),
    }
    return {"format": 1, "rounds": rounds, "steps": steps, "rows": rows, "speeds": speeds, "ratios": equal, **_where()}


def _row(one: Contender, values: list[tuple[float, float]]) -> dict[str, Any]:
    speeds = sorted(speed for speed, _ in values)
    return {
        "name": one.name,
        **asdict(one),
        "images_per_second": statistics.median(speeds),
        "lowest": speeds[0],
        "highest": speeds[-1],
        "waiting": statistics.median(wait for _, wait in values),
        "peak_mb": _peak(one),
    }


def _ratio(seen: dict[Contender, list[tuple[float, float]]], mine: Contender, others: tuple[Contender, ...]) -> float:
    """The median over rounds of ours by the fastest of theirs in the same round."""
    faster = [max(seen[other][index][0] for other in others) for index in range(len(seen[mine]))]
    return statistics.median(speed / other for (speed, _), other in zip(seen[mine], faster, strict=True))


def _peak(one: Contender) -> float | None:
    """Peak resident memory of a process that runs this contender alone, and of the largest process it started."""
    words = [sys.executable, __file__, "--only", one.name]
    found = subprocess.run(words, capture_output=True, text=True)
    return float(found.stdout.split()[-1]) if found.returncode == 0 else None


def alone(name: str) -> float:
    """What ``_peak`` asks for, in millions of bytes."""
    one = next(each for each in CONTENDERS if each.name == name)
    images = pictures()
    with ExitStack() as stack:
        (ours(one, images, stack) if one.loop == "whatwhere" else theirs(one, images))(3)
    sizes = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(sizes) * 1024 / 1e6


def _where() -> dict[str, Any]:
    versions = {"torch": torch.__version__, "timm": timm.__version__, "python": platform.python_version()}
    here = environment()
    return {
        "versions": versions,
        "device": here["device"],
        "threads": here["threads"],
        "commit": here["commit"],
        "batch": BATCH,
        "network": "resnet20, 100 classes",
    }


def show(found: dict[str, Any]) -> None:
    """The table on the terminal."""
    table = Table("loop", "images/s", "range", "waiting", "peak MB")
    for row in found["rows"]:
        peak = "–" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}"
        cells = (f"{row['images_per_second']:.0f}", f"{row['lowest']:.0f} to {row['highest']:.0f}")
        table.add_row(row["name"], *cells, f"{row['waiting']:.1%}", peak)
    console = Console()
    console.print(table)
    for name, ratio in found["ratios"].items():
        console.print(f"{name}: {ratio:.2f} times the faster of plain and timm")


def main(rounds: int = 5, steps: int = 30, only: str | None = None, out: Path = RESULTS) -> None:
    """Race the loops.

    Args:
        rounds: turns of each contender.
        steps: timed in a turn.
        only: measure the memory of one contender and print it.
        out: the JSON file.
    """
    if only is not None:
        print(alone(only))
        return
    found = race(rounds, steps)
    out.write_text(json.dumps(found, indent=2) + "\n")
    show(found)


if __name__ == "__main__":
    tyro.cli(main)
