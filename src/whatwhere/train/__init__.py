"""Training: a recipe, and one trial after it."""

from whatwhere.train.evaluate import Evaluation, evaluate
from whatwhere.train.loop import Trained, train
from whatwhere.train.metrics import EpochRecord, read_records
from whatwhere.train.optimiser import weight_groups
from whatwhere.train.recipe import Recipe

__all__ = ["EpochRecord", "Evaluation", "Recipe", "Trained", "evaluate", "read_records", "train", "weight_groups"]
