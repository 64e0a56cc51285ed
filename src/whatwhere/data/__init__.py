"""Image sets in memory: published ones, folders, and `scenes`, which needs no files."""

from whatwhere.data import scenes
from whatwhere.data.augment import Augment
from whatwhere.data.feed import batches, normalise
from whatwhere.data.images import ImageSet, Splits
from whatwhere.data.loading import load, names

__all__ = ["Augment", "ImageSet", "Splits", "batches", "load", "names", "normalise", "scenes"]
