"""Hosts that spend a gate's parameters on something plainer: more channels, or more of their own blocks."""

from itertools import product

from torch import nn

from whatwhere import hosts
from whatwhere.attach import Plan, attach_, plan
from whatwhere.errors import HostError
from whatwhere.hosts import Stem

__all__ = ["deepen_", "extra_block_", "width_for"]

_STEPS = 40
_MOST_BLOCKS = 12
# A budget many times the host's is no control any more, and a slip of the keyboard that no memory holds.
_MOST_TIMES = 100


def _count(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def width_for(name: str, parameters: int, *, num_classes: int, in_channels: int, stem: Stem) -> float:
    """The least width at which a host of this package has ``parameters``; costs some forty builds without weights.

    Channels are whole, so a small host comes out larger than asked for: ResNet-20 with one channel more in its last
    stage has 2 % more parameters. The network that comes of it says how many it has.

    Raises:
        HostError: the host has no width to choose, or at its own width more parameters than that, or far fewer.
    """

    def parameters_at(width: float) -> int:
        return _count(hosts.skeleton(name, num_classes=num_classes, in_channels=in_channels, stem=stem, width=width))

    own = parameters_at(1.0)
    if own == parameters:
        return 1.0
    if own > parameters:
        raise HostError(
            f"wider:parameters={parameters}: a wider host has more parameters than the host",
            got=f"{name!r} has {own:,}",
            fix="the parameters of the host with its gate",
        )
    if parameters > _MOST_TIMES * own:
        raise HostError(
            f"wider:parameters={parameters}: that is more than {_MOST_TIMES} times the host",
            got=f"{name!r} has {own:,}",
            fix="the parameters of the host with its gate",
        )
    low, high = 1.0, 2.0
    while parameters_at(high) < parameters:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if parameters_at(middle) < parameters else (low, middle)
    return high


def extra_block_(model: nn.Module, host: str, at: str, input_size: tuple[int, int, int]) -> Plan:
    """Put one of the host's own blocks wherever a gate would go, in place (BAM paper, table 1c).

    Raises:
        HostError: the host has no block that keeps its map; AttachError: it has no such place.
    """
    return attach_(model, hosts.block(host), at=at, input_size=input_size)


def deepen_(model: nn.Module, host: str, parameters: int, input_size: tuple[int, int, int]) -> Plan:
    """Put the host's own blocks where BAM would stand, as many at each as bring it nearest to ``parameters``, in place.

    At least one is added, so a small host may come out larger than asked for; the network says how large it is.

    Raises:
        HostError: the host has no block that keeps its map; AttachError: it has no bottleneck.
    """
    block = hosts.block(host)
    sites = plan(model, block, at="bottlenecks", input_size=input_size).sites
    missing = parameters - _count(model)
    sizes = {site.channels: _count(block(site.channels)) for site in sites}
    counts = _nearest(list(sizes.values()), missing)
    blocks = dict(zip(sizes, counts, strict=True))

    def several(channels: int) -> nn.Module:
        return nn.Sequential(*(block(channels) for _ in range(blocks[channels])))

    chosen = [site.name for site in sites if blocks[site.channels]]
    return attach_(model, several, at=chosen, input_size=input_size)


def _nearest(sizes: list[int], wanted: int) -> tuple[int, ...]:
    """How many of each size come nearest to ``wanted`` together, at least one in all; the fewest where several do."""
    ranges = [range(min(_MOST_BLOCKS, max(1, wanted // size + 1)) + 1) for size in sizes]
    tried = [counts for counts in product(*ranges) if any(counts)]

    def miss(counts: tuple[int, ...]) -> tuple[int, int]:
        return abs(sum(n * size for n, size in zip(counts, sizes, strict=True)) - wanted), sum(counts)

    return min(tried, key=miss)
