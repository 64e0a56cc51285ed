"""Networks shown pictures: what each gate does, where a class is seen, and whether that means anything."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from itertools import islice

import torch
from torch import Tensor

from whatwhere.attach.gated import gated_modules
from whatwhere.errors import HostError, closest
from whatwhere.explain.cams import Cam
from whatwhere.explain.diagnose import Probe, diagnoses
from whatwhere.explain.explanation import Explanation, Look, Network, Score, Shown, SiteLook
from whatwhere.explain.layer import target_layer
from whatwhere.explain.perturbing import insertion_deletion, road
from whatwhere.explain.pictures import Picture, Pictures
from whatwhere.explain.randomising import randomised
from whatwhere.explain.record import Record
from whatwhere.explain.scores import Localisation, on_pixels
from whatwhere.hub import GatedNetwork
from whatwhere.modes import evaluating
from whatwhere.moments import describe

__all__ = ["explain"]

_BATCH = 16
_LOCAL = ("pointing", "energy", "iou")
ALL_GATES = "all gates"
RANDOM = "cam, weights drawn anew"
_EVEN = "an even map"


def explain(
    networks: Mapping[str, GatedNetwork],
    pictures: Pictures,
    *,
    source: str = "",
    method: str = "gradcam",
    layer: str | None = None,
    target: str | None = None,
    top: int = 3,
    shown: int = 100,
    faithful: int = 0,
    sanity: bool = False,
    probe: int = 64,
) -> Explanation:
    """Run pictures through networks and gather what is to be seen and said. The networks stay as they were.

    Gates and maps come from one forward of each picture. Memory does not grow with the pictures, but for the ``shown``
    that are kept and some hundred numbers each.

    Args:
        networks: by name; all take images of the size that the pictures were read in.
        pictures: to look at.
        source: what they are, in words.
        method, layer: as in ``Cam``.
        target: a class by name or number, whose map is wanted of every picture; None for the most probable alone.
        top: maps of so many classes a picture, the most probable ones after ``target``.
        shown: pictures that are kept.
        faithful: of so many pictures insertion and deletion are measured, and ROAD where grad-cam is installed.
        sanity: also score the maps of the same networks with weights drawn anew, which ought to be no better than
            chance (Adebayo et al. 2018).
        probe: of so many pictures each gate is switched off in turn.

    What a map without information gets on the same pictures stands beside every score: the objects' share of the area,
    and the insertion, deletion and ROAD of an even map.

    Cost: a forward a picture, and a backward through the layers after ``layer`` for each class; ``probe`` forwards
    more a gate, and some 42 more for each map and ``faithful`` picture.

    Raises:
        HostError: a network knows no such class or layer, or the networks take other sizes of images.
    """
    eyes = [_Eye(name, network, method, layer, target, top) for name, network in networks.items()]
    doubles: list[_Eye] = []
    kept: list[Shown] = []
    count = 0
    for batch in _batches(pictures):
        if sanity and not doubles:
            doubles = [_Eye(eye.name, eye.redrawn(batch), method, eye.layer, target, 1) for eye in eyes]
        looks = [eye.look(batch) for eye in eyes]
        for eye in eyes:
            eye.test(batch, max(0, probe - count), max(0, faithful - count))
        for double in doubles:
            double.look(batch)
        kept += [
            Shown(one.name, one.pixels, one.label, _union(one), tuple(look[i] for look in looks))
            for i, one in enumerate(batch[: max(0, shown - count)])
        ]
        count += len(batch)
    told = [eye.conclude(*(double.random_scores() for double in doubles[i : i + 1])) for i, eye in enumerate(eyes)]
    return Explanation(source, method, count, tuple(told), kept, tuple(pictures.problems))


class _Eye:
    """One network at work."""

    def __init__(
        self, name: str, network: GatedNetwork, method: str, layer: str | None, target: str | None, top: int
    ) -> None:
        self.name, self.network = name, network
        self._model, config = network.network, network.config
        size = (config.in_channels, *config.image_size)
        self.layer = layer or target_layer(self._model, size, f"explain({name!r})")
        self._method, self._size = method, size
        self._classes = config.classes or tuple(str(number) for number in range(config.num_classes))
        self._target = None if target is None else _class(target, self._classes, name)
        self._top = min(top, config.num_classes)
        self._records = Record(self._model) if gated_modules(self._model) else None
        self._probe = Probe(self._model) if self._records else None
        self._local: dict[str, Localisation] = {}
        self._faithful: dict[tuple[str, str], list[float]] = {}
        self._right: list[bool] = []
        self._last: tuple[Tensor, Tensor, dict[str, Tensor]] | None = None

    def look(self, batch: list[Picture]) -> list[Look]:
        images = self._images(batch)
        labels = [self._classes.index(one.label) if one.label in self._classes else -1 for one in batch]
        with Cam(self._model, self._method, self.layer, self._size) as cam:
            with self._watch(labels):
                logits = self._model(images)
            classes = self._chosen(logits)
            cams = cam(logits, classes)
        probabilities = logits.detach().float().softmax(1).gather(1, classes)
        self._right += [
            guess == label for guess, label in zip(logits.argmax(1).tolist(), labels, strict=True) if label >= 0
        ]
        sites = self._sites()
        maps = {"cam": cams[:, 0], **{name: one[0] for name, one in sites.items() if one[0] is not None}}
        self._last = images, classes[:, 0], maps
        self._localise(batch, classes[:, 0].tolist(), maps)
        return [
            Look(tuple(classes[i].tolist()), tuple(probabilities[i].tolist()), cams[i], _of(sites, i))
            for i in range(len(batch))
        ]

    def test(self, batch: list[Picture], probe: int, faithful: int) -> None:
        """What takes forwards of its own, for the first pictures of the batch that was just looked at."""
        if self._last is None:
            return
        images, classes, maps = self._last
        with evaluating(self._model):
            if self._probe and probe:
                self._probe.add(images[:probe])
        if not faithful:
            return
        even = torch.ones(len(images), 1, 1)
        for name, found in {_EVEN: even, **maps}.items():
            given = images[:faithful], found[:faithful].float(), classes[:faithful]
            insertion, deletion = insertion_deletion(self._model, *given)
            self._note(name, "insertion", insertion)
            self._note(name, "deletion", deletion)
            if find_spec("pytorch_grad_cam"):
                self._note(name, "road", road(self._model, *given))

    def conclude(self, *more: tuple[Score, ...]) -> Network:
        accuracy = sum(self._right) / len(self._right) if self._right else None
        scores = [score for name in self._local for score in self._scores(name)]
        scores += [
            Score(name, score, describe(values), describe(self._faithful[_EVEN, score]).mean)
            for (name, score), values in self._faithful.items()
            if name != _EVEN
        ]
        scores += [score for one in more for score in one]
        found = diagnoses(self._records, self._probe) if self._records else ()
        return Network(self.name, self._classes, self.layer, found, tuple(scores), accuracy)

    def redrawn(self, batch: list[Picture]) -> GatedNetwork:
        """The same network with weights drawn anew, its batch norms at home with these pictures (if there are two)."""
        images = self._images(batch) if len(batch) > 1 else None
        return GatedNetwork(self.network.config, randomised(self._model, images=images)).eval()

    def random_scores(self) -> tuple[Score, ...]:
        """Of a network with weights drawn anew: what its class activation maps are worth."""
        return self._scores("cam", RANDOM) if "cam" in self._local else ()

    def _scores(self, name: str, called: str | None = None) -> tuple[Score, ...]:
        found = self._local[name].summary()
        return tuple(Score(called or name, score, found[score], found["chance"].mean) for score in _LOCAL if found)

    def _note(self, name: str, score: str, values: Tensor) -> None:
        self._faithful.setdefault((name, score), []).extend(values.tolist())

    def _images(self, batch: list[Picture]) -> Tensor:
        pixels = torch.stack([one.pixels for one in batch])
        like = next(self._model.parameters())
        return self.network.normalise(pixels.to(like.device)).to(like.dtype)

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

    def _sites(self) -> dict[str, tuple[Tensor | None, Tensor | None]]:
        return {name: (site.positions, site.channels) for name, site in (self._records or {}).items() if site.calls}

    def _localise(self, batch: list[Picture], classes: list[int], maps: Mapping[str, Tensor]) -> None:
        marked = [i for i, one in enumerate(batch) if one.masks]
        if not marked:
            return
        unions = torch.stack([_union(batch[i]) for i in marked])  # type: ignore[misc]
        of_class = [batch[i].masks.get(self._classes[classes[i]]) for i in marked]
        own = torch.stack([union if mask is None else mask for mask, union in zip(of_class, unions, strict=True)])
        chosen = {name: found[marked].float().cpu() for name, found in maps.items()}
        for name, found in chosen.items():
            self._local.setdefault(name, Localisation()).update(found, own if name == "cam" else unions)
        gates = [_evened(found, unions.shape[-2:]) for name, found in chosen.items() if name != "cam"]
        if len(gates) > 1:
            together = torch.stack(gates).mean(0)
            self._local.setdefault(ALL_GATES, Localisation()).update(together, unions)


def _batches(pictures: Pictures) -> Iterator[list[Picture]]:
    """A few pictures at a time, with a bar where somebody watches."""
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task("explaining", total=len(pictures))
        source = iter(pictures)
        while batch := list(islice(source, _BATCH)):
            yield batch
            bar.advance(task, len(batch))


def _class(target: str, classes: tuple[str, ...], name: str) -> int:
    if target in classes:
        return classes.index(target)
    if target.isdecimal() and int(target) < len(classes):
        return int(target)
    raise HostError(
        f"explain(target={target!r}): {name!r} has no such class",
        got=f"{len(classes)} classes, numbered 0 to {len(classes) - 1}",
        closest=closest(target, classes),
    )


def _union(picture: Picture) -> Tensor | None:
    return torch.stack(tuple(picture.masks.values())).any(0) if picture.masks else None


def _evened(maps: Tensor, size: torch.Size) -> Tensor:
    """Each map from 0 to 1 at the picture's size, so that sites of any range count alike."""
    large = on_pixels("explain(pictures)", maps, (size[0], size[1]))
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return (large - low) / (high - low).clamp(min=torch.finfo(large.dtype).tiny)


def _of(sites: Mapping[str, tuple[Tensor | None, Tensor | None]], i: int) -> dict[str, SiteLook]:
    return {
        name: SiteLook(*(None if found is None else found[i].float().cpu() for found in pair))
        for name, pair in sites.items()
    }
