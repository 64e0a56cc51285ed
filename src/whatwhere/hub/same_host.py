"""Whether a host is the one that a file's tensors were trained in."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from whatwhere.errors import AttachError, closest
from whatwhere.hub.layouts import Layout

__all__ = ["Blocks", "State", "blocks", "check_host", "check_structure", "compared", "fits"]

State = Mapping[str, Tensor]
# Blocks in each stage, and convolutions in a block.
Blocks = tuple[tuple[int, ...], int]

_DEPTHS: Mapping[Blocks, str] = {
    ((2, 2, 2, 2), 2): "resnet18",
    ((3, 4, 6, 3), 2): "resnet34",
    ((3, 4, 6, 3), 3): "resnet50",
    ((3, 4, 23, 3), 3): "resnet101",
    ((3, 8, 36, 3), 3): "resnet152",
}


def blocks(state: State) -> Blocks:
    """What the names of a ResNet's tensors say of its blocks; ((), 0) for a network that is none."""
    found = [re.fullmatch(r"layer(\d+)\.(\d+)\.conv(\d)\.weight", name) for name in state]
    parts = [tuple(map(int, one.groups())) for one in found if one is not None]
    stages = sorted({stage for stage, _, _ in parts})
    counts = tuple(1 + max(block for there, block, _ in parts if there == stage) for stage in stages)
    return counts, max((conv for _, _, conv in parts), default=0)


def check_host(theirs: State, ours: State, call: str) -> None:
    """Refuse a host whose tensors are not those of the file; batch counters may be missing in the file.

    Args:
        theirs: the file's host under torchvision's names; likewise ``ours``, the network's without its gates.
        ours: likewise.
        call: what the user wrote.
    Raises:
        AttachError: another network, another number of classes, or any tensor missing, left over or of another shape.
    """
    there, here = blocks(theirs), blocks(ours)
    if there != here:
        raise AttachError(
            f"{call}: the file is of another network; nothing was changed",
            got=f"{_said(there)} in the file, {_said(here)} in the network",
            fix=_build(theirs),
        )
    classes = _classes(theirs), _classes(ours)
    if None not in classes and classes[0] != classes[1]:
        raise AttachError(
            f"{call}: the file's classifier has another number of classes; nothing was changed",
            got=f"{classes[0]} in the file, {classes[1]} in the network",
            fix="build the host with the file's number, load, then put a classifier of your own in its place",
        )
    for name in {**ours, **theirs}:
        if not fits(name, theirs.get(name), ours.get(name)):
            unmatched = set(theirs) ^ set(ours) if (name in theirs) != (name in ours) else set()
            other = sorted(key for key in unmatched if (key in theirs) != (name in theirs))
            raise AttachError(
                f"{call}: the file's tensors are not those of the network; nothing was changed",
                got=compared(repr(name), theirs.get(name), ours.get(name)),
                closest=closest(name, other),
                fix=_build(theirs),
            )


def fits(name: str, there: Tensor | None, here: Tensor | None) -> bool:
    """Whether the file's tensor can be copied into the network's, or need not be."""
    if there is None or here is None:
        return there is None and name.endswith("num_batches_tracked")
    # a library's 1x1 convolution of a pooled map is our linear layer
    linear = here.ndim == 2 and there.shape == (*here.shape, 1, 1)
    return (linear or there.shape == here.shape) and there.is_floating_point() == here.is_floating_point()


def compared(name: str, there: Tensor | None, here: Tensor | None) -> str:
    """Kind of number and shape of one tensor on both sides, for a message."""
    said = [
        "nothing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        for tensor in (there, here)
    ]
    return f"{name} is {said[0]} in the file and {said[1]} in the network"


def _said(found: Blocks) -> str:
    return f"blocks {found[0]} of {found[1]} convolutions" if found[0] else "no blocks of a ResNet"


def _classes(state: State) -> int | None:
    weight = state.get("fc.weight")
    return None if weight is None or weight.ndim != 2 else weight.shape[0]


def _build(theirs: State, library: str = "torchvision") -> str:
    """The call that builds the file's host; those of ``imagenet`` have their stride in the first convolution."""
    name, classes = _DEPTHS.get(blocks(theirs)), _classes(theirs)
    if name is None or classes is None or "conv1.weight" not in theirs or _grouped(theirs):
        return "build the host that the file was saved from, with its number of classes"
    small = ", stem='small'" if theirs["conv1.weight"].shape[-1:] == (3,) else ""
    return f"whatwhere.hosts.build('{library}/{name}', num_classes={classes}{small})"


def _grouped(theirs: State) -> bool:
    weight = theirs.get("layer1.0.conv2.weight")
    return weight is not None and weight.ndim == 4 and weight.shape[1] < weight.shape[0]


def check_structure(model: nn.Module, layout: Layout, theirs: State, call: str) -> tuple[str, ...]:
    """Refuse a host that has the file's tensors and computes something else; say what the file leaves open.

    Raises:
        AttachError: a block has its stride in another convolution, the first max-pool has other windows, or the file's
            gates read what no attached gate can.
    """
    if not layout.plain_blocks and blocks(theirs)[1] == 2:
        raise AttachError(
            f"{call}: in {layout.name} with blocks of two convolutions, gates read a ReLU that this host does not "
            "have; nothing was changed",
            fix="timm's seresnet of the same depth can be taken",
        )
    pool: Any = getattr(model, "maxpool", None)
    if isinstance(pool, nn.MaxPool2d) and (pool.padding in (1, (1, 1))) != layout.padded_pool:
        options = "padding=1" if layout.padded_pool else "ceil_mode=True"
        raise AttachError(
            f"{call}: the tensors fit and the outputs would not, for the first max-pool of {layout.name} has other "
            "windows than the network's; nothing was changed",
            fix=f"model.maxpool = torch.nn.MaxPool2d(3, 2, {options})",
        )
    ours, wanted = _strided(model, theirs), "conv2" if _grouped(theirs) else layout.stride
    if ours is None or ours == wanted:
        return ()
    if wanted is None:
        return (f"{layout.name} has such networks with the stride in conv1 and in conv2; this host has it in {ours}",)
    raise AttachError(
        f"{call}: the tensors fit and the outputs would not, for the stride of the file's blocks is in {wanted} and "
        f"that of the network's in {ours}; nothing was changed",
        fix=_build(theirs, "torchvision" if wanted == "conv2" else "imagenet"),
    )


def _strided(model: nn.Module, theirs: State) -> str | None:
    """The convolution with the stride of the second stage's first block; None where there is no choice."""
    counts, depth = blocks(theirs)
    if depth != 3 or len(counts) < 2:
        return None
    convs: dict[str, Any] = {name: model.get_submodule(f"layer2.0.{name}") for name in ("conv1", "conv2")}
    found = [name for name, conv in convs.items() if max(getattr(conv, "stride", (1,))) > 1]
    return found[0] if len(found) == 1 else None
