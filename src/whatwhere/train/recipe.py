"""How a trial is trained: frozen plain values, and the learning rate it gives at every moment."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, get_args

from whatwhere.data.box_transforms import Kind
from whatwhere.errors import RunError, closest

__all__ = ["AUGMENTS", "OPTIMISERS", "PRECISIONS", "SCHEDULES", "Recipe"]

OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step")
AUGMENTS = get_args(Kind)
PRECISIONS = ("fp32", "bf16", "fp16")


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _milestones(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_real, value)) and sorted({0, *value, 1}) == [0, *value, 1]


def _flag(value: object) -> bool:
    return isinstance(value, bool)


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": (lambda value: _whole(value) and value >= 1, "a whole number, 1 or more"),
    "batch_size": (lambda value: _whole(value) and value >= 1, "a whole number, 1 or more"),
    "lr": (lambda value: _real(value) and value > 0, "a number above 0"),
    "momentum": (lambda value: _real(value) and 0 <= value < 1, "a number from 0 to below 1"),
    "nesterov": (_flag, "True or False"),
    "weight_decay": (lambda value: _real(value) and value >= 0, "a number, 0 or more"),
    "warmup_epochs": (lambda value: _real(value) and value >= 0, "a number, 0 or more"),
    "milestones": (_milestones, "a tuple of rising fractions of the epochs, each between 0 and 1"),
    "gamma": (lambda value: _real(value) and value > 0, "a number above 0"),
    "label_smoothing": (lambda value: _real(value) and 0 <= value < 1, "a number from 0 to below 1"),
    "channels_last": (_flag, "True or False"),
    "padding": (lambda value: _whole(value) and value >= 0, "a whole number of pixels, 0 or more"),
    "flip": (_flag, "True or False"),
    "clip_norm": (lambda value: value is None or (_real(value) and value > 0), "None or a number above 0"),
    "accumulate": (lambda value: _whole(value) and value >= 1, "a whole number, 1 or more"),
    "ema": (lambda value: value is None or (_real(value) and 0 < value < 1), "None or a number between 0 and 1"),
    "compile": (_flag, "True or False"),
    "graphs": (_flag, "True or False"),
    "deterministic": (_flag, "True or False"),
    "sync_norm": (_flag, "True or False"),
    "decay_norms": (_flag, "True or False"),
}


@dataclass(frozen=True)
class Recipe:
    """Everything about a training but the network, the data and the seed; every field fits in JSON.

    The default is the usual one for CIFAR: SGD with Nesterov momentum, a cosine, 4-pixel crops and flips.

    Args:
        epochs: passes over the training images.
        batch_size: images of one optimiser step, over all processes and micro-batches.
        optimiser: ``"sgd"`` or ``"adamw"`` (its betas 0.9 and 0.999).
        lr: the learning rate after warm-up.
        momentum: of SGD; likewise ``nesterov``.
        weight_decay: on weights of two or more dimensions, or on all where ``decay_norms`` is set.
        schedule: ``"cosine"`` to 0 (Loshchilov and Hutter 2017, equation 5, one period) or ``"step"``.
        warmup_epochs: epochs, not necessarily whole, in which the learning rate rises linearly from 0.
        milestones: of the step schedule, fractions of all epochs; a list, as JSON gives it, becomes a tuple.
        gamma: what the step schedule multiplies by at each milestone.
        label_smoothing: of the training loss (Szegedy et al. 2016, section 7); reported losses of validation and test
            have none.
        precision: ``"fp32"``, or autocast to ``"bf16"`` or ``"fp16"`` (with a loss scaler, on a GPU only).
        channels_last: memory format of weights and images.
        padding: pixels of the random crop; likewise ``flip`` for mirroring.
        clip_norm: the most that the norm of all gradients may be; None for no limit.
        accumulate: micro-batches a step, whose gradients are summed: less memory, the same step but for batch norms,
            which look at one micro-batch.
        ema: decay of the moving average of weights and batch-norm statistics, taken after every step; the average is
            then what is evaluated, saved and left in the model. None for no average.
        compile: whether `torch.compile` makes one program of normalisation, forward and loss (of full micro-batches;
            a short one and evaluation run as they are). Compiling is not in an epoch's seconds.
        graphs: whether the compiled step is recorded as CUDA graphs; needs ``compile`` and a GPU.
        deterministic: whether only operations that give the same bits each time are allowed, on a GPU at some speed.
        sync_norm: whether batch norms take their statistics over all processes; one process alone is not changed.
        augment: how a detector's images and boxes are changed: ``"none"``, ``"flip"``, ``"scale"`` (and flip) or
            ``"ssd"`` (colours, zoom, crops and flip; Liu et al. 2016); None for what suits the detector. Labelled
            images are changed by ``padding`` and ``flip``.
        decay_norms: whether biases and norms decay too, as in the scripts released with BAM and CBAM.

    Raises:
        RunError: a value is out of its range, or a name is unknown.
    """

    epochs: int = 1
    batch_size: int = 128
    optimiser: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    label_smoothing: float = 0.0
    precision: str = "fp32"
    channels_last: bool = True
    padding: int = 4
    flip: bool = True
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None
    compile: bool = False
    graphs: bool = False
    deterministic: bool = False
    sync_norm: bool = False
    decay_norms: bool = False
    augment: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.milestones, list):
            object.__setattr__(self, "milestones", tuple(self.milestones))
        for name, known in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            self._check_name(name, known)
        if self.augment is not None:
            self._check_name("augment", AUGMENTS)
        for field in fields(self):
            if field.name in _CHECKS:
                fits, words = _CHECKS[field.name]
                value = getattr(self, field.name)
                if not fits(value):
                    raise RunError(f"Recipe({field.name}={value!r}): {field.name} is {words}")
        if self.warmup_epochs >= self.epochs:
            raise RunError(
                f"Recipe(epochs={self.epochs}, warmup_epochs={self.warmup_epochs}): warm-up ends before training does",
                fix=f"warmup_epochs below {self.epochs}, or more epochs",
            )
        if self.optimiser == "sgd" and self.nesterov and self.momentum == 0:
            raise RunError("Recipe(momentum=0, nesterov=True): nesterov needs momentum", fix="nesterov=False")
        if self.graphs and not self.compile:
            raise RunError(
                "Recipe(graphs=True, compile=False): CUDA graphs are recorded by the compiler", fix="compile=True too"
            )

    def _check_name(self, name: str, known: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in known:
            near = closest(value, known) if isinstance(value, str) else ()
            kinds = " or ".join(repr(word) for word in known)
            raise RunError(f"Recipe({name}={value!r}): no such {name}", closest=near, fix=f"{name} is {kinds}")

    def lr_at(self, progress: float) -> float:
        """The learning rate when the fraction ``progress`` (0 to 1) of the training is done.

        Warm-up is a straight line from 0; the cosine spans what is left after it, the milestones all of the training.
        """
        warm = self.warmup_epochs / self.epochs
        if progress < warm:
            return self.lr * progress / warm
        if self.schedule == "step":
            return self.lr * self.gamma ** sum(progress >= milestone for milestone in self.milestones)
        return self.lr * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2
