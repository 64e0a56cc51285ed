"""What do explanations cost, beside a plain forward and the libraries for class activation maps?

Each contender makes Grad-CAMs of the most probable class at ``layer4``, enlarged to the pictures' size, for the same
pictures and the same network, with random weights and parameters that want gradients, as a user has them. No time is
given for maps that do not agree with ours. The contenders take turns in one process.

    python benchmarks/explain.py                 a table, and benchmarks/results/explain.json
    python benchmarks/explain.py --rounds 2 --out /tmp/x.json     a quick look
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torchvision
import tyro
from gate_bench.report import Ratio, Times
from gate_bench.timing import Turn, race, ratio, times
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from whatwhere.experiments.environment import environment
from whatwhere.explain.cams import Cam

RESULTS = Path(__file__).parent / "results" / "explain.json"
FORMAT = 1
NETWORKS = ("resnet18", "resnet50")
BATCH, SIZE, LAYER = 8, 224, "layer4"
ALIKE = 0.999
LIBRARIES = {"torchcam": "torchcam", "pytorch-grad-cam": "grad-cam"}


@dataclass(frozen=True)
class Row:
    """One contender on one network.

    Attributes:
        network: of torchvision.
        contender: "forward" is the network alone, without a graph; "whatwhere", or a library.
        problem: why there is no time.
        correlation: of its maps with ours, over all pixels of all pictures; None for the forward.
        times: of one batch.
        ours: our time by this one's.
    """

    network: str
    contender: str
    problem: str | None = None
    correlation: float | None = None
    times: Times | None = None
    ours: Ratio | None = None


class Maps:
    """A contender: ``entered`` holds around its turns, calling it gives the maps (B, SIZE, SIZE)."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model, images

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What a user does once for many batches."""
        yield

    def __call__(self) -> Tensor:
        """One batch."""
        raise NotImplementedError


class Ours(Maps):
    """``whatwhere.explain.cams.Cam``."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        with Cam(self.model, layer=LAYER) as self.cam:
            yield

    def __call__(self) -> Tensor:
        logits = self.model(self.images)
        return enlarged(self.cam(logits, logits.argmax(dim=1, keepdim=True)))


class TorchCam(Maps):
    """torchcam as its own pages show it."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        from torchcam.methods import GradCAM

        with GradCAM(self.model, LAYER) as self.extractor:
            yield

    def __call__(self) -> Tensor:
        scores = self.model(self.images)
        return enlarged(self.extractor(scores.argmax(dim=1).tolist(), scores)[0][:, None])


class PytorchGradCam(Maps):
    """pytorch-grad-cam as its own pages show it; it takes the most probable class and enlarges by itself."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        from pytorch_grad_cam import GradCAM

        with GradCAM(model=self.model, target_layers=[self.model.get_submodule(LAYER)]) as self.extractor:
            yield
        self.model.zero_grad()

    def __call__(self) -> Tensor:
        return torch.from_numpy(self.extractor(input_tensor=self.images, targets=None))


CONTENDERS: dict[str, type[Maps]] = {"whatwhere": Ours, "torchcam": TorchCam, "pytorch-grad-cam": PytorchGradCam}


def enlarged(maps: Tensor) -> Tensor:
    """(B, 1, h, w) to (B, SIZE, SIZE)."""
    return F.interpolate(maps, (SIZE, SIZE), mode="bilinear")[:, 0]


def network(name: str, images: Tensor) -> nn.Module:
    """Random weights; the batch norms have seen the pictures, so that activations are neither nothing nor huge."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = None
    with torch.no_grad():
        model(images)
    return model.eval()


def cam_rows(rounds: int) -> list[dict[str, Any]]:
    """Class activation maps of a batch: a forward, ours, and the libraries."""
    return [asdict(row) for name in NETWORKS for row in cam_race(name, rounds)]


def cam_race(name: str, rounds: int) -> list[Row]:
    """One network."""
    print(f"class activation maps of {name}", file=sys.stderr)
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    model = network(name, images)

    def forward() -> Tensor:
        with torch.no_grad():
            return model(images)

    turns, problems, alike = {"forward": Turn(forward)}, dict[str, str](), dict[str, float]()
    expected = torch.empty(0)
    for contender, kind in CONTENDERS.items():
        maps = kind(model, images)
        try:
            with maps.entered():
                found = maps()
        except ImportError as error:
            problems[contender] = f"not installed: {error}"
            continue
        expected = found if contender == "whatwhere" else expected
        alike[contender] = float(torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1])
        if alike[contender] > ALIKE:
            turns[contender] = Turn(maps, maps.entered)
        else:
            problems[contender] = "its maps are not ours"
    seen = race(turns, rounds)
    return [
        Row(name, contender, problems.get(contender), alike.get(contender))
        if contender in problems
        else Row(
            name,
            contender,
            None,
            alike.get(contender),
            times(seen[contender]),
            ratio(seen["whatwhere"], seen[contender]),
        )
        for contender in ("forward", *CONTENDERS)
    ]


PARTS: dict[str, Callable[[int], list[dict[str, Any]]]] = {"cams": cam_rows}
"""What is raced, by its key in the file: rounds -> rows, of which ``network``, ``contender``, ``problem``, ``times``
and ``ours`` are shown."""


def where() -> dict[str, Any]:
    """What the numbers belong to."""
    here = environment()
    versions, missing = {**here["versions"], "torchvision": torchvision.__version__}, []
    for library, package in LIBRARIES.items():
        try:
            versions[library] = version(package)
        except PackageNotFoundError:
            missing.append(library)
    return {**here, "versions": versions, "missing": missing, "batch": BATCH, "size": SIZE, "layer": LAYER}


def show(found: dict[str, Any]) -> None:
    """The tables on the terminal."""
    for part in PARTS:
        table = Table("network", "contender", "ms a batch", "ours by it", title=part)
        for row in found[part]:
            cells = [row["problem"], ""]
            if row["times"]:
                ours = row["ours"]
                interval = f"{ours['low']:.2f} to {ours['high']:.2f}"
                cells = [f"{row['times']['median']:.0f}", f"{ours['median']:.2f} ({interval})"]
            table.add_row(row["network"], row["contender"], *cells)
        Console().print(table)


def main(rounds: int = 9, out: Path = RESULTS) -> None:
    """Race the contenders.

    Args:
        rounds: turns of each.
        out: the JSON file.
    """
    found = {"format": FORMAT, "rounds": rounds, "where": where()}
    found |= {part: rows(rounds) for part, rows in PARTS.items()}
    out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    show(found)


if __name__ == "__main__":
    tyro.cli(main)
