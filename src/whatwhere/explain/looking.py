"""Networks shown pictures: what each gate does, where a class is seen, and whether that means anything."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice

from whatwhere.errors import DataError
from whatwhere.explain.explanation import Explanation, Look, Shown
from whatwhere.explain.eye import Eye
from whatwhere.explain.judging import union
from whatwhere.explain.reading import Picture, Pictures
from whatwhere.hub import GatedNetwork

__all__ = ["SHUFFLED", "explain"]

SHUFFLED = ", weights shuffled"
_BATCH = 16


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
    that are kept and, where objects are known, some fifty numbers a picture and kind of map.

    Beside every score stands what a map without information gets: the objects' share of the area, as an even map does;
    and the insertion, deletion and ROAD of noise as coarse as the map. A map that is the same bump in the middle of
    every picture is scored too.

    Args:
        networks: by name; all take images of the size that the pictures were read in.
        pictures: to look at.
        source: what they are, in words.
        method, layer: as in ``Cam``.
        target: a class by name or number, whose map is wanted of every picture; None for the most probable alone.
        top: maps of so many classes a picture, the most probable ones after ``target``.
        shown: pictures that are kept.
        faithful: of so many pictures insertion and deletion are measured, and ROAD where grad-cam is installed.
        sanity: also score the maps of the same networks with their weights shuffled, which ought to be far worse
            (Adebayo et al. 2018).
        probe: of so many pictures each gate is switched off in turn.

    Cost: a forward a picture, and a backward through the layers after ``layer`` for each class; ``probe`` forwards
    more a gate, and some 42 more for each kind and size of map and ``faithful`` picture.

    Raises:
        HostError: a network knows no such class or layer, takes other sizes of images, or gives NaN.
        DataError: there is no picture, or none could be read.
    """
    eyes = [Eye(name, network, method, layer, target, top) for name, network in networks.items()]
    doubles: list[Eye] = []
    kept: list[Shown] = []
    count = 0
    for batch in _batches(pictures):
        if sanity and not doubles:
            doubles = [Eye(eye.name, eye.shuffled(batch), method, eye.layer, target, 1) for eye in eyes]
        looks = [eye.look(batch) for eye in eyes]
        for eye in eyes:
            eye.test(max(0, probe - count), max(0, faithful - count))
        for double in doubles:
            double.look(batch)
        some = batch[: max(0, shown - count)]
        kept += [_shown(one, eyes, [look[i] for look in looks]) for i, one in enumerate(some)]
        count += len(batch)
    if not count:
        raise DataError("explain: there is no picture to look at", got="; ".join(pictures.problems[:3]))
    more = [double.scores(SHUFFLED) for double in doubles] or [()] * len(eyes)
    told = tuple(eye.conclude(scores) for eye, scores in zip(eyes, more, strict=True))
    problems = [*pictures.problems]
    if faithful and not find_spec("pytorch_grad_cam"):
        problems.append("ROAD was not measured: grad-cam is not installed (pip install grad-cam)")
    settings = dict(layer=layer, target=target, top=top, faithful=faithful, sanity=sanity, probe=probe)
    return Explanation(source, method, count, told, kept, tuple(problems), settings)


def _shown(picture: Picture, eyes: Sequence[Eye], looks: Sequence[Look]) -> Shown:
    label = next(filter(None, (eye.class_of(picture.label) for eye in eyes)), picture.label)
    mask = union(picture) if picture.masks else None
    return Shown(picture.name, picture.pixels.expand(3, -1, -1), label, mask, tuple(looks))


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
