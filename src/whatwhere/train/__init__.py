"""Training: a recipe, and one trial after it."""

from whatwhere.train.evaluate import Evaluation, evaluate
from whatwhere.train.loop import train
from whatwhere.train.metrics import Epoch
from whatwhere.train.optimiser import weight_groups
from whatwhere.train.recipe import Recipe
from whatwhere.train.trial import Trained

__all__ = ["Epoch", "Evaluation", "Recipe", "Trained", "evaluate", "train", "weight_groups"]
