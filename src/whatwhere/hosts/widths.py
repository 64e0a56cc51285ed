"""Channel counts of a network that is made wider or narrower as a whole."""

from collections.abc import Iterable

__all__ = ["scaled", "scaled_stages"]


def scaled(channels: float, width: float, multiple: int = 1) -> int:
    """``width * channels`` rounded to a positive multiple of ``multiple``; a width of 1 gives whole channels back."""
    return max(round(channels * width / multiple), 1) * multiple


def scaled_stages(stages: Iterable[tuple[int, int]], width: float, multiple: int = 1) -> list[tuple[int, int]]:
    """``(blocks, channels)`` of each stage with the channels scaled."""
    return [(blocks, scaled(channels, width, multiple)) for blocks, channels in stages]
