"""A detector shown pictures one by one: what it finds, where its gates look, and whether that is where objects are."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from whatwhere.attach.gated import Gated
from whatwhere.data.detection import DetectionPart
from whatwhere.detect.detections import Detections, detections
from whatwhere.errors import DataError, HostError
from whatwhere.explain.boxes import objects_mask, on_image, part_of_map
from whatwhere.explain.detected import BoxedPicture, Detected, Sight
from whatwhere.explain.diagnosing import diagnoses
from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Score
from whatwhere.explain.judging import Judge
from whatwhere.explain.recording import Record, SiteRecord
from whatwhere.gates import Gate
from whatwhere.modes import evaluating

__all__ = ["look_at", "pictures_of"]

# Maps are scored on as many rows or columns at the most; gates' maps are coarser, and time goes with the square.
_FINEST = 256


def look_at(
    model: nn.Module,
    pictures: Iterable[BoxedPicture],
    classes: Sequence[str],
    *,
    name: str,
    source: str = "",
    shown: int = 100,
    each: Callable[[Sight], object] = lambda sight: None,
) -> Detected:
    """Run pictures through a detector, one at a time, and gather what is to be seen and said. It stays as it was.

    The map of a gate is what it multiplies each position by, brought to the picture; what the detector padded the
    picture with is cut off. Only gates that see a picture whole and once have one: those that read regions or run at
    several levels are told of in ``problems``, and so are gates that weigh channels alone.

    Maps are scored against all objects together, since no gate knows of classes: as in ``explain``, beside the objects'
    share of the area and a bump in the middle. They are scored on a grid of at most 256 cells a side.

    Args:
        model: in eval mode it takes a list of float (3, H, W) in 0..1 and gives a list of ``boxes``, ``labels`` from 1
            and ``scores``. It may carry no gates.
        pictures: to look at, read one by one.
        classes: the name of each label, without the background.
        name: of the detector, for the reader.
        source: what the pictures are, in words.
        shown: pictures that are kept.
        each: told of every picture, kept or not.

    Cost: a forward a picture. Memory does not grow with the pictures, but for those that are kept and some fifty
    numbers a picture and site.

    Raises:
        DataError: there is no picture, or a gate gives NaN.
        HostError: the detector finds a class that has no name.
    """
    eye = _Eye(model, tuple(classes), name)
    sights: list[Sight] = []
    count = 0
    for picture in pictures:
        sight = eye.look(picture)
        count += 1
        each(sight)
        if count <= shown:
            sights.append(sight)
    if not count:
        raise DataError(f"look_at({name!r}): there is no picture to look at")
    kept = [Sight(one.picture, one.found, eye.without_odd(one.maps)) for one in sights]
    told = eye.gates(), tuple(eye.scores())
    return Detected(name, tuple(classes), source, count, kept, *told, problems=tuple(eye.problems()))


def pictures_of(part: DetectionPart) -> Iterator[BoxedPicture]:
    """The images of a data set's part with what is known of them, read one by one."""
    for index, name in enumerate(part.ids):
        yield BoxedPicture(str(name), part.image(index), part.objects(index), name)


class _Eye:
    """The detector at work, and sums over all that it was shown."""

    def __init__(self, model: nn.Module, classes: tuple[str, ...], name: str) -> None:
        self._model, self._classes, self._name = model, classes, name
        self._device = next(model.parameters()).device
        gated = any(isinstance(module, Gated | Gate) for module in model.modules())
        self.records = Record(model) if gated else None
        self._judge = Judge((), asked=False)
        self._odd: dict[str, str] = {}  # sites that have no map of the picture, and why
        self._sizes: dict[str, set[tuple[int, ...] | None]] = {name: set() for name in self.records or ()}

    def look(self, picture: BoxedPicture) -> Sight:
        image = picture.pixels.to(self._device).float() / 255
        before = {name: site.calls for name, site in (self.records or {}).items()}
        with evaluating(self._model), torch.no_grad():
            with self.records.watch() if self.records else nullcontext():
                (output,) = self._model([image])
            part = part_of_map(self._model, image)
        found = self._found(output)
        for name, site in (self.records or {}).items():
            self._sizes[name].add(site.size)
            why = _odd(site, site.calls - before[name])
            if why:
                self._odd.setdefault(name, why)
        whole = {name: site.positions[0] for name, site in (self.records or {}).items() if name not in self._odd}  # type: ignore[index]
        self._score(picture, whole, part)
        return Sight(picture, found, {name: _small(one, part) for name, one in whole.items()})

    def _found(self, output: Mapping[str, Tensor]) -> Detections:
        found = detections(output)
        if len(found) and int(found.labels.max()) >= len(self._classes):
            raise HostError(
                f"look_at({self._name!r}): the detector finds a class that has no name",
                got=f"label {int(found.labels.max()) + 1}, of {len(self._classes)} classes",
                fix="classes= needs one name for each output but the background",
            )
        return found

    def _score(self, picture: BoxedPicture, maps: Mapping[str, Tensor], part: tuple[float, float]) -> None:
        height, width = picture.pixels.shape[-2:]
        scale = min(1.0, _FINEST / max(height, width))
        cells = max(1, round(height * scale)), max(1, round(width * scale))
        mask = None if picture.truth is None else objects_mask(picture.truth, (height, width), cells)
        if maps and mask is not None:
            self._judge.place({name: on_image(one, part, cells)[None] for name, one in maps.items()}, {0: mask}, cells)

    def scores(self) -> Iterator[Score]:
        """Of the sites that had a map in every picture, of all together and of the middle."""
        return (score for score in self._judge.scores() if score.map not in self._odd)

    def gates(self) -> tuple[Diagnosis, ...]:
        """What each gate does; without the size of its map where that goes by the picture's."""
        found = diagnoses(self.records) if self.records else ()
        return tuple(one if len(self._sizes[one.site]) == 1 else replace(one, size=None) for one in found)

    def without_odd(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: one for name, one in maps.items() if name not in self._odd}

    def problems(self) -> Iterator[str]:
        for why in dict.fromkeys(self._odd.values()):
            names = [name for name, said in self._odd.items() if said == why]
            yield f"no map is shown of {', '.join(names)}: {why}"


def _odd(site: SiteRecord, ran: int) -> str:
    """Why the last forward left no map of the whole picture; "" where it did."""
    if not ran:
        return "not run on every picture"
    if ran > 1:
        return "run several times a picture, once a level or part"
    if site.shape is None or len(site.shape) != 4 or site.shape[0] != 1:
        return "reads regions, not the picture"
    return "weighs channels alone, all positions alike" if site.positions is None else ""


def _small(positions: Tensor, part: tuple[float, float]) -> Tensor:
    """The picture's part in as many cells as it covers, on the CPU."""
    rows, columns = (max(1, round(share * side)) for share, side in zip(part, positions.shape, strict=True))
    return on_image(positions, part, (rows, columns)).cpu()
