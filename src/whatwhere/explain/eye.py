"""One network, shown pictures batch by batch."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from whatwhere.attach.gated import gated_modules
from whatwhere.errors import HostError, closest
from whatwhere.explain.activation import Cam
from whatwhere.explain.diagnosing import Probe, diagnoses
from whatwhere.explain.explanation import Look, Network, Score, SiteLook
from whatwhere.explain.judging import CAM, Judge
from whatwhere.explain.layer import target_layer
from whatwhere.explain.opening import class_numbers
from whatwhere.explain.randomising import randomised
from whatwhere.explain.reading import Picture
from whatwhere.explain.recording import Record
from whatwhere.hub import GatedNetwork
from whatwhere.modes import evaluating

__all__ = ["Eye", "as_input"]


class Eye:
    """What one network makes of pictures: looks, kept by whoever asks for them, and sums over all of them.

    Args:
        name: as the user gave it.
        network: on its device; it stays as it was.
        method, layer, target, top: as in ``explain``.

    Raises:
        HostError: the network has no such class or layer, or no feature map.
    """

    def __init__(
        self, name: str, network: GatedNetwork, method: str, layer: str | None, target: str | None, top: int
    ) -> None:
        self.name, self.network = name, network
        self._model, config = network.network, network.config
        self._size = (config.in_channels, *config.image_size)
        self.layer = layer or target_layer(self._model, self._size, f"explain({name!r})")
        self._method, self._top = method, min(top, config.num_classes)
        self.classes = config.classes or tuple(str(number) for number in range(config.num_classes))
        self._numbers = class_numbers(self.classes)
        self._target = None if target is None else _class(target, self.classes, self._numbers, name)
        self._records = Record(self._model) if gated_modules(self._model) else None
        self._probe = Probe(self._model) if self._records else None
        self._judge = Judge(self.classes, target is not None)
        self._right: list[bool] = []
        self._last: tuple[Tensor, Tensor, dict[str, Tensor]] | None = None

    def class_of(self, label: str) -> str:
        """The network's own word for a class; "" where it knows none."""
        return self.classes[self._numbers[label]] if label in self._numbers else ""

    def look(self, batch: Sequence[Picture]) -> list[Look]:
        """One forward, a map for each class, and what every gate did.

        Raises:
            HostError: the pictures are not of the network's size, or its logits are not finite.
        """
        images = self._images(batch)
        labels = [self._numbers.get(one.label, -1) for one in batch]
        with Cam(self._model, self._method, self.layer, self._size) as cam:
            with self._watch(labels):
                logits = self._model(images)
            self._check(logits)
            classes = self._chosen(logits)
            cams = cam(logits, classes)
        answers = logits.argmax(1).tolist()
        self._right += [answer == label for answer, label in zip(answers, labels, strict=True) if label >= 0]
        probabilities = logits.detach().float().softmax(1).gather(1, classes).tolist()
        sites = {name: (one.positions, one.channels) for name, one in (self._records or {}).items() if one.calls}
        placed = {name: positions for name, (positions, _) in sites.items() if positions is not None}
        self._last = images, classes[:, 0], {CAM: cams[:, 0], **placed}
        self._judge.localise(batch, classes[:, 0].tolist(), self._last[2])
        looks = []
        for i in range(len(batch)):
            of_sites = {name: SiteLook(*(_of(found, i) for found in pair)) for name, pair in sites.items()}
            looks.append(Look(tuple(classes[i].tolist()), tuple(probabilities[i]), cams[i].cpu(), of_sites))
        return looks

    def test(self, probe: int, faithful: int) -> None:
        """What takes forwards of its own, for the first pictures of the batch that was looked at last."""
        if self._last is None:
            return
        images, classes, maps = self._last
        if self._probe and probe:
            with evaluating(self._model):
                self._probe.add(images[:probe])
        if faithful:
            first = {kind: found[:faithful] for kind, found in maps.items()}
            self._judge.perturb(self._model, images[:faithful], classes[:faithful], first)

    def shuffled(self, batch: Sequence[Picture]) -> GatedNetwork:
        """The same network with its weights shuffled, its batch norms at home with these pictures if there are two."""
        images = self._images(batch) if len(batch) > 1 else None
        return GatedNetwork(self.network.config, randomised(self._model, images=images)).eval()

    def scores(self, ending: str = "") -> tuple[Score, ...]:
        """Of all kinds of maps so far."""
        return tuple(self._judge.scores(ending))

    def conclude(self, more: Sequence[Score] = ()) -> Network:
        """What holds over all pictures so far, with ``more`` scores after the network's own."""
        accuracy = sum(self._right) / len(self._right) if self._right else None
        found = diagnoses(self._records, self._probe) if self._records else ()
        return Network(self.name, self.classes, self.layer, found, (*self.scores(), *more), accuracy)

    def _images(self, batch: Sequence[Picture]) -> Tensor:
        pixels = torch.stack([one.pixels for one in batch])
        if tuple(pixels.shape[1:]) != self._size:
            raise HostError(
                f"explain({self.name!r}): the pictures are not of the network's size",
                got=f"{' x '.join(map(str, pixels.shape[1:]))}, not {' x '.join(map(str, self._size))}",
            )
        return as_input(self.network, pixels)

    def _check(self, logits: Any) -> None:
        if isinstance(logits, Tensor) and not logits.isfinite().all():
            raise HostError(
                f"explain({self.name!r}): the network gives NaN or infinity",
                fix="a checkpoint that is whole; or the mean and std that it was trained with",
            )

    def _watch(self, labels: list[int]) -> AbstractContextManager[None]:
        if self._records is None:
            return nullcontext()
        self._records.labels = None if -1 in labels else torch.tensor(labels)
        return self._records.watch()

    def _chosen(self, logits: Tensor) -> Tensor:
        """int64 (B, K): the class asked for, then the most probable others."""
        ranked = logits.detach().float().clone()
        if self._target is None:
            return ranked.topk(self._top).indices
        ranked[:, self._target] = torch.inf
        return ranked.topk(min(1 + self._top, ranked.shape[1])).indices


def as_input(network: GatedNetwork, pixels: Tensor) -> Tensor:
    """What the network is fed, on its device and in its dtype, from uint8 (B, C, H, W)."""
    like = next(network.parameters())
    return network.normalise(pixels.to(like.device)).to(like.dtype)


def _of(batch: Tensor | None, i: int) -> Tensor | None:
    return None if batch is None else batch[i].float().cpu()


def _class(target: str, classes: Sequence[str], numbers: Mapping[str, int], name: str) -> int:
    if target in numbers:
        return numbers[target]
    if target.isdecimal() and int(target) < len(classes):
        return int(target)
    raise HostError(
        f"explain(target={target!r}): {name!r} has no such class",
        got=f"{len(classes)} classes, numbered 0 to {len(classes) - 1}",
        closest=closest(target, classes),
    )
