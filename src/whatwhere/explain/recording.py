"""Watching what the gates of a network do, forward after forward, without a trace."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere.explain.acting import acting
from whatwhere.explain.finding import bare, gates_of, unknown_site
from whatwhere.explain.tally import Tally, span
from whatwhere.gates import Gate
from whatwhere.gates.gate import Factors, Observer
from whatwhere.ops import factor

__all__ = ["Record", "SiteRecord", "record"]


class SiteRecord:
    """What one gate did: in its last call in full, over all calls in sums.

    All tensors are detached. Those of a gate that has not been called yet are None.

    Attributes:
        name: of the site.
        gate: the gate in words.
        calls: how often it was called.
        channel: (B, C, 1, ...), what its paper calls the channel map: BAM's are logits, CBAM's and SE's in (0, 1).
            None for a gate without one, and for gates of other libraries; likewise ``spatial``.
        spatial: (B, 1, *S), the spatial map.
        shape: of the map that it read.
        before, after: that map and the gate's output, copied; only if ``record`` was asked for feature maps.
        settled_later: whether a hook outside the program settles what a compiled forward left.
    """

    def __init__(self, name: str, gate: nn.Module) -> None:
        self.name, self.gate, self.calls = name, repr(gate).split("\n")[0].rstrip("("), 0
        self.channel: Tensor | None = None
        self.spatial: Tensor | None = None
        self.shape: tuple[int, ...] | None = None
        self.before: Tensor | None = None
        self.after: Tensor | None = None
        self.labels: Tensor | None = None
        self._module = gate
        self._how = ""
        self._means: tuple[Tensor | None, Tensor | None] = None, None  # of the last factor, by channel and by position
        self._waiting: tuple[Factors, tuple[int, ...]] | None = None
        self.settled_later = False
        # Only where something may be compiled: to say so imports the compiler, which takes a second.
        self._settle_untraced: Callable[[], None] = self.settle
        if "torch._dynamo" in sys.modules:
            self._settle_untraced = torch.compiler.disable(self.settle)  # type: ignore[no-untyped-call]
        self._others = 0  # images that a gate of another library saw
        self._tally = Tally(span(gate))

    def __call__(self, gate: Gate, x: Tensor, factors: Factors) -> None:
        """The gate's ``Observer``."""
        channel, spatial, how = factors
        kept = Factors(_detached(channel), _detached(spatial), how)
        self._waiting = kept, tuple(x.shape)
        # In a compiled module that is known, the small maps leave the program as outputs, and its hook settles.
        if not (self.settled_later and torch.compiler.is_compiling()):
            self._settle_untraced()

    def settle(self) -> None:
        """Take in what a forward left."""
        if self._waiting is None:
            return
        (self.channel, self.spatial, self._how), self.shape = self._waiting
        self._waiting = None
        self.calls += 1
        if not self.shape[0]:
            self._means = None, None
            return
        with torch.no_grad():
            found = acting(Factors(self.channel, self.spatial, self._how))
            self._tally.add(found, self.labels)
            self._means = self._blend(found.channels), self._blend(found.positions)

    def watch_other(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """The forward hook for a gate of another library, which shows what it does in its output alone."""
        with torch.no_grad():
            x, y = inputs[0].detach().float(), output.detach().float()
            self._means = _ratio(y, x, tuple(range(2, x.ndim))), _ratio(y, x, (1,)).flatten(1)
        self.shape, self.calls, self._others = tuple(x.shape), self.calls + 1, self._others + len(x)

    def keep_feature_maps(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """The forward hook that copies the map and the output."""
        self.before, self.after = inputs[0].detach().clone(), output.detach().clone()

    @property
    def strength(self) -> float | None:
        """How far the gate acts (``start="identity"``); None means wholly."""
        strength = getattr(self._module, "strength", None)
        return strength.item() if isinstance(strength, nn.Parameter) and not strength.is_meta else None

    @property
    def size(self) -> tuple[int, ...] | None:
        """Rows and columns of the map that it read."""
        return None if self.shape is None else self.shape[2:]

    @property
    def factor(self) -> Tensor | None:
        """What the gate multiplied its map by, broadcastable to (B, C, *S), its strength left out; made when asked."""
        self.settle()
        if not self._how:
            return None
        return factor(self.channel, self.spatial, self._how)

    @property
    def channels(self) -> Tensor | None:
        """(B, C): what each channel was multiplied by, mean over positions, strength included.

        Of a gate of another library: the channel's root mean square after the gate by that before it. None for a gate
        that weighs positions alone.
        """
        self.settle()
        return self._means[0]

    @property
    def positions(self) -> Tensor | None:
        """(B, *S): what each position was multiplied by, mean over channels; likewise."""
        self.settle()
        if self._means[1] is None or self.shape is None:
            return None
        return self._means[1].reshape(-1, *self.shape[2:])

    @property
    def figures(self) -> Mapping[str, Any]:
        """Statistics over all images so far, as ``Diagnosis`` names and describes them; strength left out."""
        self.settle()
        found = self._tally.figures()
        return {**found, "images": found["images"] + self._others}

    def _blend(self, mean: Tensor | None) -> Tensor | None:
        strength = getattr(self._module, "strength", None)
        return mean if mean is None or strength is None else 1 + strength.detach() * (mean - 1)

    def __repr__(self) -> str:
        return f"<record of {self.gate} at {self.name!r}, {self.calls} call{'s' * (self.calls != 1)}>"


class Record(Mapping[str, SiteRecord]):
    """The records of a network's gates by site, in the network's order; ``print(record)`` is a table.

    Args:
        model, sites, feature_maps: as in ``record``, whose block this is without.

    Attributes:
        labels: int64 (B,), the classes of the images about to be seen, for what is said of classes; None if unknown.
    """

    def __init__(self, model: nn.Module, sites: str | Iterable[str] | None = None, feature_maps: bool = False) -> None:
        self._model, self._feature_maps = model, feature_maps
        self._gates = gates_of(model, sites, f"record({type(bare(model)).__name__})")
        self._sites = {name: SiteRecord(name, gate) for name, gate in self._gates.items()}

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Look at the forwards of this block, and add them to those looked at before."""
        with ExitStack() as stack:
            compiled = [module for module in self._model.modules() if hasattr(module, "_orig_mod")]
            for module in compiled:
                stack.callback(module.register_forward_hook(self._settle).remove)
            for module in self._model.modules():
                stack.enter_context(_uncompiled(module))
            for name, gate in self._gates.items():
                site = self._sites[name]
                site.settled_later = bool(compiled)
                if isinstance(gate, Gate):
                    stack.enter_context(_observed(gate, site))
                else:
                    stack.callback(gate.register_forward_hook(site.watch_other).remove)
                if self._feature_maps:
                    stack.callback(gate.register_forward_hook(site.keep_feature_maps).remove)
            yield

    def _settle(self, *_: Any) -> None:
        for site in self._sites.values():
            site.settle()

    def __getitem__(self, name: str) -> SiteRecord:
        if name not in self._sites:
            raise unknown_site(f"record[{name!r}]", name, self._sites)
        return self._sites[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    @property
    def labels(self) -> Tensor | None:
        return next((site.labels for site in self._sites.values()), None)

    @labels.setter
    def labels(self, labels: Tensor | None) -> None:
        for site in self._sites.values():
            site.labels = labels

    def __str__(self) -> str:
        heads = ("site", "gate", "images", "mean", "between images", "within")
        rows: list[tuple[str, ...]] = [heads]
        for name, site in self._sites.items():
            found = site.figures
            numbers = [found.get(key) for key in ("mean", "sd_images", "sd_within")]
            shown = ["–" if number is None else f"{number:.4f}" for number in numbers]
            rows.append((name, site.gate, str(found["images"]), *shown))
        widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


@contextmanager
def record(
    model: nn.Module, *, sites: str | Iterable[str] | None = None, feature_maps: bool = False
) -> Iterator[Record]:
    """Watch the gates of a network for the length of the block.

        with ww.record(model) as records:
            model(images)
        records["layer1"].positions      # (B, H, W): where that gate looks

    Every forward replaces the tensors of the one before and adds to the sums, so a whole ``DataLoader`` may go through
    in constant memory. The network computes what it computes without, in its own mode, with its gradients; afterwards
    nothing is left in it, whatever happened in the block. Blocks may lie in one another; each sees all forwards in it.

    What ``torch.compile`` gave may be watched: it is compiled once more, with the small maps as outputs; what was
    compiled in place, by ``model.compile()``, runs in eager mode meanwhile. A compiled function that calls the network
    breaks its graph at every gate, and with ``fullgraph=True`` raises. Gates of other libraries and ``feature_maps``
    are seen in eager mode only.

    Gates that ``attach_`` put in go by their site's name, others by their own. A gate that runs several times in a
    forward shows its last call, and counts the images of all.

    Args:
        model: a network with gates.
        sites: which to watch, one or several; None for all.
        feature_maps: also keep copies of the map that each gate read, and of what it gave.

    Cost: a few operations on B (C + H W) numbers a gate; for a BAM with both branches, a few passes over B C H W.

    Raises:
        AttachError: there are no gates, or a site does not exist.
    """
    records = Record(model, sites, feature_maps)
    with records.watch():
        yield records


@contextmanager
def _observed(gate: Gate, observer: Observer) -> Iterator[None]:
    """The observer beside those that there are; others may come and go meanwhile."""
    gate.observers = (*gate.observers, observer)
    try:
        yield
    finally:
        left = tuple(one for one in gate.observers if one is not observer)
        del gate.observers  # back to the class's own
        if left:
            gate.observers = left


@contextmanager
def _uncompiled(module: nn.Module) -> Iterator[None]:
    """A module that was compiled in place, in eager mode: nothing outside its program could settle."""
    compiled = module._compiled_call_impl
    if compiled is None:
        yield
        return
    module._compiled_call_impl = None
    try:
        yield
    finally:
        module._compiled_call_impl = compiled


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()


def _ratio(y: Tensor, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Root mean square of y by that of x over some dimensions, 1 where x is nothing."""
    size, was = (one.square().mean(dims).sqrt() for one in (y, x))
    return torch.where(was > 0, size / was.clamp(min=math.ulp(0.0)), torch.ones_like(was))
