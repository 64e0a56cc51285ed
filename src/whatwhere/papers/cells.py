"""Parameters and multiply-accumulates of every row, ours beside the papers'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from functools import cache

import torch
from torch import nn

from whatwhere import hosts
from whatwhere.attach import plan
from whatwhere.cost import measure
from whatwhere.detect import building
from whatwhere.experiments.grid import Grid
from whatwhere.gates import named
from whatwhere.papers.reasons import reason
from whatwhere.papers.rows import Row, rows, tables

__all__ = ["VARIANTS", "Cell", "Count", "as_grid", "cells", "count"]

# The options under which a gate's figures may agree, best fit first. The equations do not settle them: the norms that
# end BAM's branches and the biases of CBAM's perceptron show in the counts alone.
VARIANTS = {"bam": ("final_norm=channels", "final_norm=map", "final_norm=none"), "cbam": ("mlp_bias=True",)}
_CLASSES = {"cifar100": 100, "imagenet1k": 1000, "voc2007": 20, "coco": 80}
_VOC_SIZE = 300
_SCALE = {"parameters": 6, "gmacs": 9}
_UNIT = {"parameters": "M", "gmacs": "GMACs"}
_HEADERS = ("table", "host", "row", "unit", "paper", "ours", "agree", "counted as", "why")
_WORDS = frozenset({"table", "host", "row", "unit", "agree", "counted as", "why"})
_HOW = (
    "M: parameters in millions. GMACs: multiply-accumulates of one image in billions, of convolutions and matrix "
    "products; norms, biases, pools and activations add none.",
    "The papers leave open how a gate is counted. First tried: "
    + "; ".join(f"{gate} with {options[0]}" for gate, options in VARIANTS.items())
    + "; CIFAR-100's 100 classes and VOC's 20 with the background. "
    "Where 'counted as' says otherwise, that fits better, and 'why' says what this gave.",
)


_INFERRED = (
    "No source describes SSD and StairNet on MobileNet: what they are made of was chosen so that the bare counts "
    "agree, which says nothing therefore. StairNet on VGG-16 is that of one of its authors."
)


@dataclass(frozen=True)
class Count:
    """Distinct parameters of a network, and the multiply-accumulates of its forward for one image, 0 of a detector."""

    parameters: int
    gmacs: int

    def __add__(self, other: "Count") -> "Count":
        return Count(self.parameters + other.parameters, self.gmacs + other.gmacs)


@dataclass(frozen=True)
class Cell:
    """One printed figure and ours.

    Attributes:
        row: where it is printed.
        figure: 'parameters' (millions) or 'gmacs' (billions an image).
        paper: as printed.
        ours: our count, rounded half up to as many digits as the paper prints.
        exact: our count itself: parameters, or multiply-accumulates of one image.
        counted_as: the arm with the options it was counted with, and what else differs from the plain count.
        why: where the digits differ, why, as far as is known; where they agree only under a variant, what the plain
            count gives.
    """

    row: Row
    figure: str
    paper: str
    ours: str
    exact: int
    counted_as: str
    why: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the printed digits are ours."""
        return self.ours == self.paper


def cells(chosen: Sequence[str] | None = None, tick: Callable[[int, int], None] = lambda done, of: None) -> list[Cell]:
    """Count every row of these tables (None: all) that prints parameters or multiply-accumulates.

    Nothing is computed or downloaded: networks and gates are built on the meta device and counted from their shapes,
    each once a process. Convolutions and matrix products count; norms, biases, pools and activations do not.

    A row with a gate is counted as the first of its VARIANTS under which most of its digits agree. Where the
    multiply-accumulates of a CIFAR-100 row do not agree and with a classifier of 1000 classes do, they are counted so:
    that fits the BAM paper's CIFAR tables but for one figure, and 100 classes leave six of them out.

    Args:
        chosen: tables as ``rows`` takes them.
        tick: called after each row with the number of rows done and of all.
    Raises:
        RunError: there is no such table.
    """
    todo = [row for table in chosen or tables() for row in rows(table) if _figures(row)]
    found: list[Cell] = []
    for done, row in enumerate(todo, 1):
        found += _cells(row)
        tick(done, len(todo))
    return found


def as_grid(found: Sequence[Cell]) -> Grid:
    """The cells as a table whose notes say how they were counted."""
    lines = [
        (
            f"{cell.row.paper}/{cell.row.table}",
            cell.row.printed_host,
            cell.row.label,
            _UNIT[cell.figure],
            cell.paper,
            cell.ours,
            "yes" if cell.agrees else "no",
            cell.counted_as,
            cell.why,
        )
        for cell in found
    ]
    others = sum(cell.agrees and bool(cell.why) for cell in found)
    notes = [*_HOW]
    if others:
        notes.append(f"Agree only under another count than the first tried: {others}.")
    if any("1000 classes" in cell.counted_as for cell in found):
        notes.append("1000 classes: 100 would do if the paper rounded twice, first to three decimals; it does not say.")
    if any(cell.row.detection for cell in found):
        notes.append(_INFERRED)
    if not found:
        notes.append("Nothing to count: neither parameters nor multiply-accumulates are printed there.")
    return Grid(_HEADERS, lines, _WORDS, notes)


def count(row: Row, arm: str | None = None, classes: int | None = None) -> Count:
    """Count the network of one row.

    Args:
        row: any.
        arm: what to put at the row's sites; None: the row's own arm, as its gate's preset has it.
        classes: of the network, without a background; None: the data set's.
    """
    if row.detection:
        return _detector_with_gates(row, arm or row.arm, classes or _CLASSES[row.dataset])
    assert row.image_size is not None
    host = _host(row.host, classes or _CLASSES[row.dataset], row.image_size)
    if row.at is None:
        return host
    arm = arm or row.arm
    block = row.host if arm == "extra_block" else None
    sites = _sites(row.host, row.image_size, row.at)
    return sum((_gate(arm, block, channels, size) for channels, size in sites), host)


def _cells(row: Row) -> list[Cell]:
    tries: list[list[Cell]] = []
    for arm in _arms(row):
        tries.append(_counted(row, arm))
        if all(cell.agrees for cell in tries[-1]):
            break
    best = max(tries, key=lambda found: sum(cell.agrees for cell in found))
    return [_explained(cell, first) for cell, first in zip(best, tries[0], strict=True)]


def _arms(row: Row) -> list[str]:
    return [f"{row.arm}:{options}" for options in VARIANTS.get(row.arm.partition(":")[0], ())] or [row.arm]


def _counted(row: Row, arm: str) -> list[Cell]:
    found = [_cell(row, figure, arm) for figure in _figures(row)]
    if row.dataset == "cifar100":
        found = [_of_1000_classes(cell) if cell.figure == "gmacs" and not cell.agrees else cell for cell in found]
    return found


def _cell(row: Row, figure: str, arm: str, classes: int | None = None) -> Cell:
    exact, paper = getattr(count(row, arm, classes), figure), _figures(row)[figure]
    rounded = Decimal(exact).scaleb(-_SCALE[figure]).quantize(Decimal(paper), ROUND_HALF_UP)
    return Cell(row, figure, paper, str(rounded), exact, arm)


def _of_1000_classes(plain: Cell) -> Cell:
    other = _cell(plain.row, plain.figure, plain.counted_as, 1000)
    said = f"{plain.ours} with the 100 classes of CIFAR-100"
    return replace(other, counted_as=f"{plain.counted_as}, 1000 classes", why=said) if other.agrees else plain


def _explained(cell: Cell, first: Cell) -> Cell:
    """The cell with the reason why it does not agree, or does under its own variant and not under the first."""
    if not cell.agrees:
        return replace(cell, why=reason(cell.row, cell.figure))
    if not first.agrees:
        return replace(cell, why=f"{first.ours} with {first.counted_as.rpartition(':')[2]}")
    return cell


def _figures(row: Row) -> dict[str, str]:
    printed = {"parameters": row.parameters, "gmacs": row.gmacs}
    return {figure: text for figure, text in printed.items() if text is not None}


def _detector_with_gates(row: Row, arm: str, classes: int) -> Count:
    bare = sum(parameter.numel() for parameter in building.skeleton(row.host, classes).parameters())
    sites = _detector_sites(row.host, row.at) if row.at else []
    return Count(bare + sum(_gate(arm, None, channels, size).parameters for channels, size in sites), 0)


@cache
def _detector_sites(name: str, at: str) -> list[tuple[int, tuple[int, ...]]]:
    model = building.skeleton(name, 20)
    found = plan(model, lambda channels: nn.Identity(), at=at, input_size=(3, _VOC_SIZE, _VOC_SIZE))
    return [(site.channels, site.size) for site in found.sites]


@cache
def _host(name: str, classes: int, size: int) -> Count:
    return _count(hosts.skeleton(name, num_classes=classes), 3, (size, size))


@cache
def _sites(name: str, size: int, at: str) -> list[tuple[int, tuple[int, ...]]]:
    """Channels and size of the maps at a place; what is put there does not matter to where it goes."""
    found = plan(hosts.skeleton(name), lambda channels: nn.Identity(), at=at, input_size=(3, size, size))
    return [(site.channels, site.size) for site in found.sites]


@cache
def _gate(arm: str, block: str | None, channels: int, size: tuple[int, ...]) -> Count:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module = named(arm)(channels) if block is None else hosts.block(block)(channels)
    return _count(module, channels, size)


def _count(module: nn.Module, channels: int, size: tuple[int, ...]) -> Count:
    cost = measure(module, (1, channels, *size), training=False)
    return Count(cost.parameters, cost.macs)
