"""Released networks into a host that carries the gates."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from whatwhere.attach.gated import gated_modules
from whatwhere.attach.surgery import host_state_dict
from whatwhere.errors import AttachError
from whatwhere.hub.layouts import Layout, Target, recognise
from whatwhere.hub.reading import read_state
from whatwhere.hub.same_gates import check_gates, site_names
from whatwhere.hub.same_host import blocks, check_host, check_structure

__all__ = ["Loaded", "Moved", "load_released"]


@dataclass(frozen=True)
class Moved:
    """One tensor: its key in the file, its key in the network's state dict, its shape in the file."""

    source: str
    target: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Loaded:
    """What ``load_released`` did; ``print(loaded)`` is a table with a line a tensor.

    Attributes:
        path: the file.
        layout: whose names it has.
        gate: the gate, as ``attach_`` was told it.
        moved: every tensor that was copied, in the file's order.
        unused: what lies in the file beside the state dict, such as an epoch or an optimiser's state.
        missing: tensors of the network that the file has not and that kept their value: batch counters, which files
            written before torch 0.4.1 lack.
        notes: what the file's names leave open.
    """

    path: str
    layout: str
    gate: str
    moved: tuple[Moved, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        head = ("in the file", "in the network", "shape")
        rows = [head, *((one.source, one.target, "x".join(map(str, one.shape)) or "1") for one in self.moved)]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = [f"{self.path}: {len(self.moved)} tensors in the layout of {self.layout}, gate {self.gate}"]
        lines += [f"{a.ljust(widths[0])}  {b.ljust(widths[1])}  {c}" for a, b, c in rows]
        if self.unused:
            lines.append(f"in the file and not used: {', '.join(self.unused)}")
        if self.missing:
            lines.append(f"not in the file, and left as they were: {len(self.missing)} batch counters")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def load_released(model: nn.Module, path: str | os.PathLike[str]) -> Loaded:
    """Copy a published ResNet with BAM, CBAM or SE into a host with torchvision's names that carries the same gates.

    Takes the files of the authors' code (github.com/Jongchan/attention-module), of pytorchcv and of timm, as ``.pth``
    or ``.safetensors``: a bare state dict, or a dict with one under ``state_dict``, with or without the ``module.`` of
    DataParallel. Attach the gates first, as the file has them; a call that finds none, or others, says how:

        model = torchvision.models.resnet50()
        ww.attach_(model, "cbam:preset=released", at="blocks")
        print(ww.load_released(model, "RESNET50_CBAM_new_name_wrap.pth"))

    Every key and shape is checked before the first tensor is changed, and every tensor of the file is used. Also
    checked is what tensors do not show and a host can have otherwise: the strides of its blocks and its first max-pool.
    The network's mode, device and dtype stay as they are. Nothing in the file is run: it is read as tensors and plain
    values only.

    Args:
        model: any ResNet or ResNeXt with torchvision's names, on the device and in the dtype it is to have.
        path: the file.
    Returns:
        Every tensor that moved, and what did not.
    Raises:
        AttachError: the file is missing, damaged, no state dict or could run code; it has no gates; the host is another
            network than the file's, or carries no gates or others. Nothing was changed.
    """
    call = f"load_released({type(model).__name__}, {str(path)!r})"
    if any(parameter.is_meta for parameter in model.parameters()):
        raise AttachError(
            f"{call}: the network is on the meta device and has no memory to copy into",
            fix="build it on a real device, or model.to_empty(device='cpu') first",
        )
    file = read_state(Path(path), call)
    layout = recognise(file.tensors)
    if layout is None:
        raise AttachError(
            f"{call}: the file has no gates under a name that the released code, pytorchcv or timm gives them; nothing "
            "was changed",
            got=f"{len(file.tensors)} tensors, the first {next(iter(file.tensors))!r}",
            fix="a host's own checkpoint loads with model.load_state_dict, gates attached or not",
        )
    targets = _targets(layout, file.tensors, call)
    of_host = {target.name: file.tensors[key] for key, target in targets.items() if not target.gate}
    check_host(of_host, host_state_dict(model), call)
    notes = check_structure(model, layout, of_host, call)
    carried, of_gates = gated_modules(model), _by_place(targets, file.tensors)
    gate = next(target.gate for target in targets.values() if target.gate)
    check_gates(carried, of_gates, blocks(of_host), gate, call)
    sites = site_names(carried, of_gates, blocks(of_host))
    keys = {key: f"{sites[one.place]}.gate.{one.name}" if one.gate else one.name for key, one in targets.items()}
    ours = model.state_dict()
    fitting = {name: file.tensors[key].reshape(ours[name].shape) for key, name in keys.items()}
    model.load_state_dict(fitting, strict=False)
    return Loaded(
        path=str(path),
        layout=layout.name,
        gate=gate,
        moved=tuple(Moved(file.prefix + key, name, tuple(file.tensors[key].shape)) for key, name in keys.items()),
        unused=file.unused,
        missing=tuple(name for name in ours if name not in set(keys.values())),
        notes=notes,
    )


def _targets(layout: Layout, tensors: Mapping[str, Tensor], call: str) -> dict[str, Target]:
    targets: dict[str, Target] = {}
    for key in tensors:
        target = layout.target(key)
        if target is None:
            raise AttachError(
                f"{call}: the file's gates are none that this package has; nothing was changed",
                got=f"{key!r} in the layout of {layout.name}",
                fix="it takes BAM, CBAM and SE as the released code, pytorchcv and timm build them by default",
            )
        targets[key] = target
    if len({target.gate for target in targets.values() if target.gate}) > 1:
        raise AttachError(f"{call}: the file has gates of two kinds, and a call takes one; nothing was changed")
    return targets


def _by_place(targets: Mapping[str, Target], tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The gates' tensors under our names, by the block or stage that each gate ends."""
    places: dict[str, dict[str, Tensor]] = {}
    for key, target in targets.items():
        if target.gate:
            places.setdefault(target.place, {})[target.name] = tensors[key]
    return places
