"""Image sets: published ones, folders, streams of images too many for memory, and `scenes`, which needs no files."""

from whatwhere.data import scenes
from whatwhere.data.augment import Augment
from whatwhere.data.feed import batches, normalise
from whatwhere.data.images import ImageSet, Splits
from whatwhere.data.loading import load, names
from whatwhere.data.shard_index import Index
from whatwhere.data.shard_writer import Written, write_shards
from whatwhere.data.stream import Stream

__all__ = [
    "Augment",
    "ImageSet",
    "Index",
    "Splits",
    "Stream",
    "Written",
    "batches",
    "load",
    "names",
    "normalise",
    "scenes",
    "write_shards",
]
