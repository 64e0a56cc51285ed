"""Training: a recipe, and one trial after it."""

from whatwhere.train.evaluate import Evaluation, evaluate
from whatwhere.train.loop import train
from whatwhere.train.metrics import Epoch, Trained
from whatwhere.train.optimiser import weight_groups
from whatwhere.train.recipe import Recipe
from whatwhere.train.task import Task

__all__ = ["Epoch", "Evaluation", "Recipe", "Task", "Trained", "evaluate", "train", "weight_groups"]
