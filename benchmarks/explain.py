"""What do explanations cost, beside a plain forward and the libraries for class activation maps?

``cams``: each contender makes Grad-CAMs of the most probable class at ``layer4``, enlarged to the pictures' size, for
the same pictures and the same network, with random weights and parameters that want gradients, as a user has them. No
time is given for maps that do not agree with ours. ``record``: a forward of a network whose gates are watched, beside
one whose gates are not. ``explain``: photographs from files to an explanation (gates, one map each, diagnosis without
switching off), beside a forward and a backward of the same network on as many random images; the page of a hundred, in
bytes; and the most memory that a process takes for few pictures and for many. The contenders take turns in one process.

    python benchmarks/explain.py                 a table, and benchmarks/results/explain.json
    python benchmarks/explain.py --rounds 2 --out /tmp/x.json     a quick look
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
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

import whatwhere as ww
from whatwhere.experiments.environment import environment
from whatwhere.explain import Cam, explain, pictures
from whatwhere.hub import GatedNetwork, NetworkConfig
from whatwhere.hub.building import describe_gates
from whatwhere.report.explained import page

RESULTS = Path(__file__).parent / "results" / "explain.json"
FORMAT = 1
NETWORKS = ("resnet18", "resnet50")
BATCH, SIZE, LAYER = 8, 224, "layer4"
ALIKE = 0.999
GATES = ("cbam", "bam", "se")
PICTURES, FEW_AND_MANY = 128, (64, 512)
LIBRARIES = {"torchcam": "torchcam", "pytorch-grad-cam": "grad-cam"}


@dataclass(frozen=True)
class Row:
    """One contender on one network.

    Attributes:
        network: of torchvision.
        contender: "forward" is the network alone, without a graph; "whatwhere", or a library.
        problem: why there is no time, or what is told in its place.
        correlation: of its maps with ours, over all pixels of all pictures; None for the forward.
        times: of one batch.
        ours: our time by this one's; of ``record``, this one's by that of a forward that nobody watches.
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
    """``whatwhere.explain.activation.Cam``."""

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


def network(name: str, images: Tensor, gate: str | None = None) -> nn.Module:
    """Random weights, with gates or without; batch norms know the pictures, so that activations keep their size."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    if gate is not None:
        ww.attach_(model, gate)
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


def record_rows(rounds: int) -> list[dict[str, Any]]:
    """A forward whose gates are watched, beside one whose gates are not."""
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    found = []
    for gate in GATES:
        print(f"records of {gate}", file=sys.stderr)
        model = network("resnet50", images, gate)

        def forward(model: nn.Module = model) -> Tensor:
            with torch.no_grad():
                return model(images)

        turns = {"forward": Turn(forward), "watched": Turn(forward, lambda model=model: ww.record(model))}
        seen = race(turns, rounds)
        name = f"resnet50 with {gate}"
        found += [Row(name, one, times=times(seen[one]), ours=ratio(seen[one], seen["forward"])) for one in turns]
    return [asdict(row) for row in found]


def explain_rows(rounds: int) -> list[dict[str, Any]]:
    """From files to an explanation, beside a forward and a backward."""
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    model = network("resnet50", images, "cbam")
    gated = as_gated(model)
    with TemporaryDirectory() as folder:
        photographs(Path(folder), PICTURES)
        shown = pictures([folder], image_size=(SIZE, SIZE))

        def train() -> None:
            for _ in range(PICTURES // BATCH):
                model(images).square().sum().backward()

        def look() -> None:
            explain({"resnet50 with cbam": gated}, shown, top=1, probe=0)

        print("from files to an explanation", file=sys.stderr)
        seen = race({"forward and backward": Turn(train), "whatwhere": Turn(look)}, max(2, rounds // 3))
        hundred = explain(
            {"resnet50 with cbam": gated}, pictures([folder], image_size=(SIZE, SIZE), limit=100), probe=0
        )
        size = len(page(hundred).encode())
    name = f"resnet50 with cbam, {PICTURES} photographs"
    rows = [asdict(Row(name, one, times=times(seen[one]), ours=ratio(seen["whatwhere"], seen[one]))) for one in seen]
    return [*rows, asdict(Row(name, "page of 100", f"{size:,} bytes")), *memory_rows()]


def memory_rows() -> list[dict[str, Any]]:
    """The most memory of a process that explains few pictures, and of one that explains many."""
    found = []
    for count in FEW_AND_MANY:
        command = [sys.executable, __file__, "--only-look", str(count)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        row = Row(f"resnet18 with cbam, {count} photographs", "peak memory", f"{int(said) / 1e6:,.0f} MB")
        found.append(asdict(row))
    return found


def look_alone(count: int) -> None:
    """Explain so many pictures and print the most bytes that this process has held."""
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    gated = as_gated(network("resnet18", images, "cbam"), "resnet18")
    with TemporaryDirectory() as folder:
        photographs(Path(folder), count)
        explain({"a": gated}, pictures([folder], image_size=(SIZE, SIZE)), top=1, shown=8, probe=0)
    print(most_memory())


def most_memory() -> int:
    """The most bytes that this process has held; what getrusage says of a child counts its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def as_gated(model: nn.Module, name: str = "resnet50") -> GatedNetwork:
    """What ``explain`` takes."""
    gates = describe_gates(model, "benchmark")
    config = NetworkConfig(f"torchvision/{name}", 1000, (SIZE, SIZE), gates=gates, mean=(0.5,) * 3, std=(0.25,) * 3)
    return GatedNetwork(config, model)


def photographs(folder: Path, count: int) -> None:
    """JPEG files of 500 x 375 pixels: noise of several scales, about as many bytes as a photograph."""
    from PIL import Image

    drawn = torch.Generator().manual_seed(0)
    coarse = torch.rand(8, 3, 24, 32, generator=drawn)
    fine = torch.rand(8, 3, 375, 500, generator=drawn)
    pixels = F.interpolate(coarse, (375, 500), mode="bicubic").clamp(0, 1) * 0.85 + fine * 0.15
    pixels = (pixels * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for i in range(count):
        Image.fromarray(pixels[i % 8]).save(folder / f"{i:05}.jpg", quality=85)


PARTS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "cams": cam_rows,
    "record": record_rows,
    "explain": explain_rows,
}
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


def main(rounds: int = 9, out: Path = RESULTS, only_look: int | None = None) -> None:
    """Race the contenders.

    Args:
        rounds: turns of each.
        out: the JSON file.
        only_look: race nothing, explain so many pictures and print the most memory that it took.
    """
    if only_look is not None:
        look_alone(only_look)
        return
    found = {"format": FORMAT, "rounds": rounds, "where": where()}
    found |= {part: rows(rounds) for part, rows in PARTS.items()}
    out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    show(found)


if __name__ == "__main__":
    tyro.cli(main)
