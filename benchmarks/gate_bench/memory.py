"""What a call takes from memory: held for the backward, allocated, held at the worst moment."""

from collections.abc import Callable
from weakref import WeakSet

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from whatwhere.cost.tally import Kept

__all__ = ["allocated", "kept"]


def kept(module: nn.Module, x: Tensor) -> int:
    """Bytes of the distinct storages that autograd holds after ``module(x)``, the map itself among them.

    Parameters and buffers do not count.
    """
    saved: WeakSet[Kept] = WeakSet()

    def pack(tensor: Tensor) -> Kept:
        one = Kept(tensor)
        saved.add(one)
        return one

    with saved_tensors_hooks(pack, _never):
        output = module(x)
    own = {Kept(tensor).key for tensor in (*module.parameters(), *module.buffers())}
    found = {one.key: one.bytes for one in saved if one.key not in own}
    del output  # held until here: its graph is what keeps
    return sum(found.values())


def _never(packed: Kept) -> Tensor:
    raise NotImplementedError("no backward is run")


def allocated(run: Callable[[], object], least: float) -> tuple[int, int]:
    """How many blocks of at least ``least`` bytes a call takes from torch's allocator, and the most bytes it holds."""
    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        output = run()
    del output
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return sum(event.nbytes() >= least for event in events), most
