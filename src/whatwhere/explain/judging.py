"""What the maps of one network are worth, kind by kind, over many pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from whatwhere.explain.explanation import Score
from whatwhere.explain.perturbing import insertion_deletion, road
from whatwhere.explain.reading import Picture
from whatwhere.explain.scores import Localisation, on_pixels
from whatwhere.moments import Moments, describe

__all__ = ["ALL_GATES", "CAM", "MIDDLE", "Judge", "union"]

CAM, ALL_GATES = "cam", "all gates"
MIDDLE = "the middle, always"
"""A map that looks at no picture: a bump in the middle, where photographers put things."""
_LOCAL = ("pointing", "energy", "iou")
_BUMP = 0.25  # its standard deviation, in sides

Shape = tuple[int, ...]


class Judge:
    """Takes in batches of maps and gives their scores.

    Memory: some fifty numbers a picture and kind of map.

    Args:
        classes: of the network.
        asked: whether the maps of classes are of one class that somebody asked for.
    """

    def __init__(self, classes: Sequence[str], asked: bool) -> None:
        self._classes, self._asked = classes, asked
        self._local: dict[str, Localisation] = {}
        self._answers: dict[tuple[str | Shape, str], list[float]] = {}  # of noise, by its shape
        self._shapes: dict[str, Shape] = {}

    def localise(self, batch: Sequence[Picture], classes: Sequence[int], maps: Mapping[str, Tensor]) -> None:
        """Hold maps (B, h, w) by their kind against the objects.

        The map of a class (``CAM``) is held against the objects of that class; where a picture has none, against all of
        its objects, and not at all if the class was asked for and the network knows the class of one of them. Gates'
        maps are held against all objects.
        """
        marked = [i for i, one in enumerate(batch) if one.masks]
        if not marked:
            return
        unions = {i: union(batch[i]) for i in marked}
        own = {i: mask for i in marked if (mask := self._own(batch[i], self._classes[classes[i]])) is not None}
        if CAM in maps:
            self._update(CAM, maps[CAM], own)
        size = tuple(batch[0].pixels.shape[-2:])
        self.place({kind: found for kind, found in maps.items() if kind != CAM}, unions, size)

    def place(self, maps: Mapping[str, Tensor], masks: Mapping[int, Tensor], size: Shape) -> None:
        """Hold gates' maps (B, h, w) by site against all objects of those images that have some, and a bump with them.

        Args:
            maps: of a batch.
            masks: bool (H, W), by the image's place in the batch; one at least.
            size: (H, W).
        """
        for kind, found in maps.items():
            self._update(kind, found, masks)
        if len(maps) > 1:
            self._update(ALL_GATES, torch.stack([_evened(found, size) for found in maps.values()]).mean(0), masks)
        self._update(MIDDLE, _bump(size).expand(1 + max(masks), *size), masks)

    def _update(self, kind: str, maps: Tensor, masks: Mapping[int, Tensor]) -> None:
        if masks:
            chosen = maps[list(masks)].float().cpu()
            self._local.setdefault(kind, Localisation()).update(chosen, torch.stack(list(masks.values())))

    def _own(self, picture: Picture, name: str) -> Tensor | None:
        if name in picture.masks:
            return picture.masks[name]
        known = any(other in self._classes for other in picture.masks)
        return None if self._asked and known else union(picture)

    def perturb(self, model: nn.Module, images: Tensor, classes: Tensor, maps: Mapping[str, Tensor]) -> None:
        """Ask the network again while pixels come and go, by each kind of map, and by noise of its size for chance."""
        for kind, found in maps.items():
            self._shapes[kind] = tuple(found.shape[1:])
            self._ask(kind, model, images, found, classes)
        for shape in dict.fromkeys(self._shapes.values()):
            drawn = torch.Generator().manual_seed(len(self._answers.get((shape, "insertion"), ())))
            self._ask(shape, model, images, torch.rand(len(images), *shape, generator=drawn), classes)

    def _ask(self, key: str | Shape, model: nn.Module, images: Tensor, maps: Tensor, classes: Tensor) -> None:
        given = model, images, maps.float(), classes
        insertion, deletion = insertion_deletion(*given)
        found = {"insertion": insertion, "deletion": deletion}
        if find_spec("pytorch_grad_cam"):
            found["road"] = road(*given)
        for score, values in found.items():
            self._answers.setdefault((key, score), []).extend(values.tolist())

    def scores(self, ending: str = "") -> Iterator[Score]:
        """All of them, each with what a map without information gets; ``ending`` is added to the kinds' names.

        With an ending, what does not depend on the network is left out.
        """
        for kind, local in self._local.items():
            found = {} if ending and kind == MIDDLE else local.summary()
            for score in _LOCAL if found else ():
                yield Score(kind + ending, score, _within(found[score], 0, 1), found["chance"].mean)
        for (key, score), values in self._answers.items():
            if isinstance(key, str):
                chance = describe(self._answers[self._shapes[key], score]).mean
                low = -0.5 if score == "road" else 0
                yield Score(key + ending, score, _within(describe(values), low, low + 1), chance)


def union(picture: Picture) -> Tensor:
    """All objects of a picture that has some, bool (H, W)."""
    return torch.stack(tuple(picture.masks.values())).any(0)


def _evened(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Each map from 0 to 1 at the picture's size, so that sites of any range count alike."""
    return on_pixels("explain(pictures)", maps.float().cpu(), (size[0], size[1]))


def _bump(size: tuple[int, ...]) -> Tensor:
    rows, columns = ((torch.arange(side) + 0.5) / side - 0.5 for side in size)
    return torch.exp(-(rows[:, None].square() + columns.square()) / (2 * _BUMP**2))


def _within(moments: Moments, low: float, high: float) -> Moments:
    """The interval without what no score can be."""
    if moments.low is None or moments.high is None:
        return moments
    return replace(moments, low=max(moments.low, low), high=min(moments.high, high))
