"""Where a detector's predictions fork: the last map that class and box predictions both read, from data flow alone."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from whatwhere.attach.trace import Call, Trace

__all__ = ["forks"]

# By how many convolutions a class tower and a box tower may differ; a stage of a trunk has more.
_UNEVEN = 1


def forks(trace: Trace, ancestors: Sequence[int]) -> dict[int, Call | None]:
    """The maps right before the classifiers, in the order of the forward.

    A prediction is a convolution that no other one comes after. Two whose outputs no map joins fork at the last map
    both come from, if all three are of one spatial size and the ways to both are about as long: past an auxiliary
    classifier the trunk goes on. Of several such maps the one nearest to a prediction is its own. What lies inside a
    module that levels share has the shared module's input instead: one map a level.

    Args:
        trace: one forward.
        ancestors: for every value the values it came from, as bits of one integer.
    Returns:
        for each map the module that makes both predictions from it, or None: it takes the map as its first argument
        and is called once.
    """
    nearest: dict[int, tuple[int, int, int]] = {}  # of a prediction: its fork, minus the way to the other, the other
    for pair in combinations(_predictions(trace, ancestors), 2):
        fork = _fork(trace, ancestors, *pair)
        if fork is not None:
            for one, other in (pair, pair[::-1]):
                nearest[one] = max(nearest.get(one, (-1, 0, 0)), (fork, -abs(one - other), other))
    counts, found = trace.times_called(), dict[int, Call | None]()
    for one, (fork, _, other) in nearest.items():
        level = _unshared(trace, fork, counts)
        if level is not None and found.get(level) is None:
            found[level] = _predictor(trace, level, (one, other), counts)
    return dict(sorted(found.items()))


def _predictions(trace: Trace, ancestors: Sequence[int]) -> list[int]:
    """The convolutions of maps that no other convolution comes after."""
    made = [value.index for value in trace.values if value.op == "convolution" and trace.is_map(value.index)]
    passed = 0
    for index in made:
        passed |= ancestors[index] & ~(1 << index)
    return [index for index in made if not passed >> index & 1]


def _fork(trace: Trace, ancestors: Sequence[int], one: int, other: int) -> int | None:
    """The last map that both come from, if it has their size and nothing but two towers of one kind lies between."""
    values = trace.values
    size = values[one].shape[2:]
    if values[other].shape[2:] != size or abs(values[one].depth - values[other].depth) > _UNEVEN:
        return None
    both = 1 << one | 1 << other
    if any(ancestors[value.index] & both == both and trace.is_map(value.index) for value in values[other:]):
        return None
    common = ancestors[one] & ancestors[other]
    while common:
        last = common.bit_length() - 1
        if trace.is_map(last):
            return last if values[last].shape[2:] == size else None
        common ^= 1 << last
    return None


def _unshared(trace: Trace, index: int, counts: Mapping[int, int]) -> int | None:
    """The map itself, or the input of the outermost module called several times that it was made in.

    A module without parameters, such as a block's one ReLU, is no level's tower.
    """
    while True:
        around = [trace.calls[call] for call in trace.values[index].stack]
        weighty = (call for call in around if any(True for _ in call.module.parameters()))
        shared = next((call for call in weighty if counts[id(call.module)] > 1), None)
        if shared is None:
            return index
        if shared.first is None or not trace.is_map(shared.first):
            return None
        index = shared.first


def _predictor(trace: Trace, index: int, pair: tuple[int, int], counts: Mapping[int, int]) -> Call | None:
    for call in trace.calls:
        takes = call.first == index and call.stack and counts[id(call.module)] == 1
        if takes and all(call.index in trace.values[one].stack for one in pair):
            return call
    return None
