"""Is a gate worth its place: what it does over many images, and what is lost without it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere.errors import AttachError
from whatwhere.explain.advice import advice
from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.finding import gates_of
from whatwhere.explain.recording import Record
from whatwhere.modes import evaluating
from whatwhere.ops.reference import finish_block

__all__ = ["Probe", "diagnose", "diagnoses"]


@dataclass
class _Effect:
    """Sums over the images of a probe that came to one site."""

    images: int = 0
    flipped: float = 0.0
    moved: float = 0.0
    before: float = 0.0
    after: float | None = 0.0  # None once the gate took a residual or a ReLU along, whose size is not its own

    def weigh(self, gate: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A forward hook."""
        x, residual, relu = _given(*args, **kwargs)
        self.images += len(x)
        self.before += float(x.float().square().sum())
        if residual is not None or relu:
            self.after = None
        elif self.after is not None:
            self.after += float(output.float().square().sum())


class Probe:
    """What each gate changes: its output beside its input, and the network's answer with that gate alone switched off.

    Args:
        model: a classifier with gates, in eval mode. What is compiled of it runs in eager mode.

    Cost: a forward, and one more for each gate, of every image.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._gates = gates_of(model, None, f"diagnose({type(model).__name__})")
        self._effects = {name: _Effect() for name in self._gates}

    def add(self, images: Tensor) -> None:
        """Look at a batch (B, C, H, W), normalised."""
        if not len(images):
            return
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            before = {name: effect.images for name, effect in self._effects.items()}
            whole = _probabilities(self._look(images))
            for name, gate in self._gates.items():
                if self._effects[name].images > before[name]:
                    self._switch_off(gate, self._effects[name], images, whole)

    def _switch_off(self, gate: nn.Module, effect: _Effect, images: Tensor, whole: Tensor) -> None:
        handle = gate.register_forward_hook(_pass_through, with_kwargs=True)
        try:
            without = _probabilities(self._model(images))
        finally:
            handle.remove()
        effect.flipped += float((whole.argmax(1) != without.argmax(1)).sum())
        effect.moved += float((whole - without).abs().sum() / 2)

    def _look(self, images: Tensor) -> Any:
        """The network's answer; on the way, the sizes of what each gate reads and gives."""
        handles = [
            gate.register_forward_hook(self._effects[name].weigh, with_kwargs=True)
            for name, gate in self._gates.items()
        ]
        try:
            return self._model(images)
        finally:
            for handle in handles:
                handle.remove()

    def figures(self, site: str) -> dict[str, float | None]:
        """``probed``, ``flipped``, ``moved`` and ``gain`` of one gate; nothing of one that did not run."""
        found = self._effects[site]
        if not found.images:
            return {}
        gain = None if found.after is None or not found.before else (found.after / found.before) ** 0.5
        figures = {"flipped": found.flipped / found.images, "moved": found.moved / found.images, "gain": gain}
        finite = {name: one if one is None or math.isfinite(one) else None for name, one in figures.items()}
        return {"probed": found.images, **finite}


def diagnose(
    model: nn.Module, batches: Tensor | Iterable[Tensor | tuple[Any, Tensor | None]], *, probe: int = 64
) -> tuple[Diagnosis, ...]:
    """What each gate of a classifier does over many images, with advice in plain words; the network stays as it was.

    Args:
        model: a network with gates that gives logits (B, K). It is looked at in eval mode.
        batches: normalised images (B, C, H, W), or pairs of these and their labels int64 (B,), on the model's device;
            or one batch of images. With ``probe`` 0 any network will do, and whatever it takes in a pair with None.
        probe: of how many images each gate is switched off in turn; 0 leaves ``flipped``, ``moved`` and ``gain`` out.

    Returns:
        One a site, in the network's order. Of a gate that did not run, nothing but its name is known; one of another
        library shows no factor.

    Cost: a forward of every image, and ``probe`` more for each gate. Memory does not grow with the images.

    Raises:
        AttachError: the network carries no gates, or gives no logits; or there are not as many labels as images.
    """
    records = Record(model)
    effects, left = Probe(model), probe
    with evaluating(model), torch.no_grad():
        for batch in [batches] if isinstance(batches, Tensor) else batches:
            images, labels = (batch, None) if isinstance(batch, Tensor) else batch
            if labels is not None and labels.shape != images.shape[:1]:
                raise AttachError(
                    "diagnose(model, batches): each image has one label",
                    got=f"{len(images)} images and labels of shape {tuple(labels.shape)}",
                )
            records.labels = labels
            with records.watch():
                model(images)
            if left > 0:
                effects.add(images[:left])
                left -= len(images)
    return diagnoses(records, effects)


def diagnoses(records: Record, effects: Probe | None = None) -> tuple[Diagnosis, ...]:
    """What records come to, with what a probe adds."""
    found = []
    for name, site in records.items():
        figures: Mapping[str, Any] = {**site.figures, **(effects.figures(name) if effects else {})}
        channels = None if site.shape is None else site.shape[1]
        one = Diagnosis(name, site.gate, channels, site.size, strength=site.strength, **figures)
        found.append(replace(one, advice=advice(one)))
    return tuple(found)


def _given(x: Tensor, residual: Tensor | None = None, relu: bool = False) -> tuple[Tensor, Tensor | None, bool]:
    """What a gate was called with; those of other libraries take the map alone."""
    return x, residual, relu


def _pass_through(gate: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """The gate's output without the gate; what it took along of a residual block stays."""
    return finish_block(*_given(*args, **kwargs))


def _probabilities(logits: Any) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = f"an output of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise AttachError("diagnose(model, batches): the network must give logits (B, K)", got=shape)
    return logits.float().softmax(1)
