"""Places in a traced host where a gate can stand, found from shapes and data flow, with no code per architecture."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import nn

from whatwhere.attach.heads import forks
from whatwhere.attach.trace import Call, Trace

__all__ = ["PLACES", "Finder", "Site"]

PLACES = ("bottlenecks", "blocks", "stages", "transitions", "heads")

# What makes a map smaller. Other operations only seem to: they rearrange it, or describe it (a norm's statistics).
_SHRINKING = {"convolution", "slice", "index", "pixel_unshuffle"}

# Halvings from the image to the last map of a trunk; below that a detector adds maps for large objects.
_TRUNK = 5


def _shrinks(op: str) -> bool:
    return op in _SHRINKING or "pool" in op or op.startswith("upsample")


@dataclass(frozen=True)
class Site:
    """One place in a host.

    Attributes:
        name: of the module, as in ``host.named_modules()``.
        kind: 'bottleneck', 'block', 'stage', 'transition', 'head' or 'module'.
        channels: C of the map there.
        size: its spatial sizes, in the traced forward.
        reduction: how much smaller than the input it is, as a power of two; in a detector that resizes its images, than
            those.
        side: 'output' when the gate follows the module, 'input' when it stands before it.
        names: all the names the module has in the host.
        dtype, device: of the map.
    """

    name: str
    kind: str
    channels: int
    size: tuple[int, ...]
    reduction: int
    side: str = "output"
    names: tuple[str, ...] = field(default=(), repr=False)
    dtype: torch.dtype = field(default=torch.float32, repr=False)
    device: torch.device = field(default=torch.device("cpu"), repr=False)


class Finder:
    """All sites of one trace.

    A *bottleneck* is where the last map of a resolution goes before a module makes it smaller: the input of the
    outermost module that takes a map of that resolution and gives one of the next. It is not the last tensor before the
    strided convolution, which in most blocks is an inner, expanded map. Of all such places at one resolution the last
    in time counts. The stem is left out: resolutions above a quarter of the input, in networks that go down to a
    thirty-second or more; in smaller ones, all but the last three resolutions. What lies below a thirty-second in a
    network with heads, as levels of a pyramid or extra feature layers do, is no part of its trunk.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def find(self, place: str) -> list[Site]:
        """Sites of one of the named places, in the order of the forward; a module carries one gate."""
        found: dict[str, Site] = {}
        for value, kind in self._wanted(place).items():
            site = self._site_at(value, kind)
            if site is not None:
                found.setdefault(site.name, site)
        return list(found.values())

    def unplaced(self, place: str) -> int:
        """How many maps of that place have no module of their own, before or after which a gate could stand."""
        return len(self._wanted(place)) - len(self.find(place))

    def _wanted(self, place: str) -> dict[int, str]:
        """The values of a place, and what a site there is called."""
        if place == "blocks":
            return dict.fromkeys(self._residual_branches(), "block")
        if place == "heads":
            return dict.fromkeys(self._heads, "head")
        ends = self._stage_ends
        if place == "bottlenecks":
            return dict.fromkeys([end for end, _ in ends], "bottleneck")
        if place == "transitions":
            return dict.fromkeys([value for pair in ends for value in pair if value is not None], "transition")
        return dict.fromkeys([end for end, _ in ends] + (self._last_maps() if ends else []), "stage")

    @cached_property
    def _heads(self) -> Mapping[int, Call | None]:
        return forks(self.trace, self._ancestors)

    def modules(self) -> list[Site]:
        """Every module that is called once and gives one feature map."""
        return [
            self._site(call, "module", "output", call.output)
            for call in self.trace.calls
            if call.stack and self._once(call) and call.output is not None and self.trace.is_map(call.output)
        ]

    def refusal(self, name: str) -> str:
        """Why the module of that name is no site."""
        calls = [call for call in self.trace.calls if name in call.names]
        if not calls:
            seen = self.trace.cut_name
            until = f", which is followed until {seen} depends on values" if seen else ""
            return f"is never called in this forward{until}"
        if len(calls) > 1:
            return f"is called {len(calls)} times in one forward, and a gate there would act every time"
        return "does not give one feature map" if calls[0].stack else "is the whole network"

    @cached_property
    def _counts(self) -> Mapping[int, int]:
        return self.trace.times_called()

    @cached_property
    def _readers(self) -> Mapping[int, list[int]]:
        return self.trace.readers()

    @cached_property
    def _ancestors(self) -> list[int]:
        """For every value the set of values it came from, itself included, as bits of one integer."""
        sets: list[int] = []
        for value in self.trace.values:
            bits = 1 << value.index
            for parent in value.parents:
                bits |= sets[parent]
            sets.append(bits)
        return sets

    def _once(self, call: Call) -> bool:
        return self._counts[id(call.module)] == 1

    # --- which values ---

    def _drops(self) -> Iterator[tuple[int, int]]:
        """Pairs (larger map, smaller map made from it); global pooling is none, and padding is looked through."""
        trace = self.trace
        for value in trace.values:
            if not _shrinks(value.op) or not trace.is_map(value.index):
                continue
            if all(size == 1 for size in value.shape[2:]) and value.op != "convolution":
                continue
            for parent in value.parents:
                while trace.values[parent].op == "constant_pad_nd":
                    (parent,) = trace.values[parent].parents
                if trace.is_map(parent) and trace.level(parent) < trace.level(value.index):
                    yield parent, value.index

    @property
    def _stage_ends(self) -> list[tuple[int, int | None]]:
        """The last map of every resolution but the lowest, stem left out, and what the downsampling module gives."""
        latest, deepest = self._ladder
        first = max(min(2, deepest - 3), 0)
        ends = [latest[level] for level in sorted(latest) if first <= level < deepest]
        return [(end, through[-1].output if through else None) for end, through in ends]

    @cached_property
    def _ladder(self) -> tuple[dict[int, tuple[int, list[Call]]], int]:
        """By level, the last map that is made smaller and the modules around all paths down; the trunk's lowest level.

        The last of these modules is the innermost which all paths to the lower resolution go through: a block, not its
        shortcut.
        """
        trace = self.trace
        latest: dict[int, tuple[int, list[Call]]] = {}
        deepest = 0
        for parent, small in self._drops():
            level = trace.level(parent)
            around = [trace.calls[index] for index in trace.values[small].stack]
            takers = [(call, taken) for call in around for taken in self._taken(call, level)]
            # what no module does as its own step counts only where no module does it, and never inside a detour
            if not takers and (latest.get(level, (0, []))[1] or any(self._detour(call, level) for call in around)):
                continue
            deepest = max(deepest, trace.level(small))
            end = takers[0][1] if takers else parent
            through = [call for call, taken in takers if taken == end]
            if level not in latest or end > latest[level][0]:
                latest[level] = (end, through)
            elif end == latest[level][0]:
                latest[level] = (end, [call for call in latest[level][1] if call in through])
        if self._heads:
            # a strided part that the forward was cut before, as a stage of the trunk that runs on regions
            for end in self._taken(trace.cut_in, deepest) if trace.cut_in and trace.goes_down else ():
                latest[deepest], deepest = (end, []), deepest + 1
        if len({trace.level(fork) for fork in self._heads}) > 1:
            deepest = min(deepest, _TRUNK)
        return latest, deepest

    def _taken(self, call: Call, level: int) -> list[int]:
        """The map of that level that a call takes, the latest of several, if it gives one of the next (or none)."""
        trace = self.trace
        if call.output is not None and trace.is_map(call.output) and trace.level(call.output) != level + 1:
            return []
        fitting = [index for index in call.inputs if trace.is_map(index) and trace.level(index) == level]
        return [max(fitting)] if fitting and call.stack else []

    def _detour(self, call: Call, level: int) -> bool:
        """Whether a module gives a map of the resolution it takes, so that what shrinks inside grows again."""
        ends = (call.first, call.output)
        return bool(call.stack) and all(
            end is not None and self.trace.is_map(end) and self.trace.level(end) == level for end in ends
        )

    def _last_maps(self) -> list[int]:
        """The last map of more than one position that something else than a map is made from; in a detector, the
        trunk's last: what a smaller map, or else the predictions of that resolution, are made from.
        """
        trace = self.trace
        latest, deepest = self._ladder
        if self._heads and deepest in latest:
            return [latest[deepest][0]]
        lowest = max((fork for fork in self._heads if trace.level(fork) == deepest), default=None)
        if lowest is not None:
            around = [trace.calls[index] for index in trace.values[lowest].stack]
            return next((taken for call in around if (taken := self._taken(call, deepest))), [lowest])
        ends = [
            value.index
            for value in trace.values
            if trace.is_map(value.index)
            and max(value.shape[2:]) > 1
            and "avg_pool" not in value.op
            and not any(
                trace.values[reader].shape[2:] == value.shape[2:] and "avg_pool" not in trace.values[reader].op
                for reader in self._readers[value.index]
            )
        ]
        if not self._heads:
            deepest = max(trace.level(index) for index in ends)
        return [index for index in ends if trace.level(index) == deepest][-1:]

    def _residual_branches(self) -> Iterator[int]:
        """The longer operand of every addition whose shorter one is an identity or a projection of at most one conv."""
        values = self.trace.values
        for value in values:
            maps = [parent for parent in value.parents if self.trace.is_map(parent)]
            if value.op != "add" or len(maps) != 2 or values[maps[0]].shape != values[maps[1]].shape:
                continue
            first, second = maps
            branch, shortcut = (first, second) if values[first].depth >= values[second].depth else (second, first)
            common = self._ancestors[branch] & self._ancestors[shortcut]
            fork = values[common.bit_length() - 1]
            near, longer = values[shortcut].depth - fork.depth <= 1, values[branch].depth > fork.depth
            if near and longer and branch != fork.index and not self._enlarged(branch, fork.index):
                yield branch

    def _enlarged(self, index: int, fork: int) -> bool:
        """Whether all ways from the fork to the map lead through smaller maps, as the way down a pyramid does."""
        trace = self.trace
        while index > fork:
            maps = [parent for parent in trace.values[index].parents if trace.is_map(parent)]
            largest = min(maps, key=trace.level, default=fork)
            if "upsample" in trace.values[index].op or trace.level(largest) > trace.level(index):
                return True
            index = largest
        return False

    # --- which modules ---

    def _site_at(self, index: int, kind: str) -> Site | None:
        """The module boundary at a value; past functions of one map that keep its shape, the boundary before them.

        A multiplying gate and such a function (an activation, a scale) nearly always commute. Before a classifier it is
        the module that makes all predictions from the map, if there is one: then the trunk does not see the gate.
        """
        predictor = self._heads[index] if kind == "head" else None
        if predictor is not None:
            return self._site(predictor, kind, "input", index)
        while True:
            after, before = self._giver(index), self._taker(index)
            if after is not None:
                return self._site(after, kind, "output", index)
            if before is not None:
                return self._site(before, kind, "input", index)
            value = self.trace.values[index]
            maps = [parent for parent in value.parents if self.trace.is_map(parent)]
            if len(maps) != 1 or self.trace.values[maps[0]].shape != value.shape or value.op == "convolution":
                return None
            index = maps[0]

    def _giver(self, index: int) -> Call | None:
        """The module that made the value: the outermost that is no bare container and spans at most one resolution."""
        value, trace = self.trace.values[index], self.trace
        calls = [call for call in trace.calls if call.output == index and call.stack and self._once(call)]
        makers = [call for call in calls if call.index in value.stack] or calls
        proper = [call for call in makers if type(call.module) is not nn.Sequential] or makers
        near = [
            call
            for call in proper
            if call.first is None or not trace.is_map(call.first) or trace.level(call.first) >= trace.level(index) - 1
        ]
        return min(near or proper, key=lambda call: len(call.stack), default=None)

    def _taker(self, index: int) -> Call | None:
        """The one module that reads the value, as its first argument, and inside which all its readers are."""
        for call in self.trace.calls:
            if call.first == index and call.stack and self._once(call):
                readers = self._readers[index]
                if readers and all(call.index in self.trace.values[reader].stack for reader in readers):
                    return call
        return None

    def _site(self, call: Call, kind: str, side: str, index: int | None) -> Site:
        assert index is not None
        value = self.trace.values[index]
        names = call.names
        reduction = 2 ** max(self.trace.level(index), 0)
        site = Site(names[0], kind, value.shape[1], value.shape[2:], reduction, side, names)
        return replace(site, dtype=value.dtype, device=value.device)
