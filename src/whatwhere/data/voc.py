"""Annotation as PASCAL VOC publishes it: one XML file an image (Everingham et al. 2010)."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from whatwhere.data.annotations import LARGEST_SIDE, Annotated, Object, fit_box, reaches_far
from whatwhere.errors import DataError, closest

__all__ = ["Voc", "open_voc"]


@dataclass(frozen=True)
class Voc:
    """The images of one part of a VOC folder, in the order of its list; an annotation is read when asked for.

    Attributes:
        call: the call as the user wrote it, for messages.
        root: the folder that holds ``Annotations`` and ``JPEGImages``.
        ids: of the images.
    """

    call: str
    root: Path
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def folder(self) -> Path:
        """Where the images lie."""
        return self.root / "JPEGImages"

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.folder / f"{self.ids[index]}.jpg"

    def read(self, index: int) -> Annotated:
        """An image's size and objects. Pixels, counted from 1 in the file, are counted from 0 here.

        Raises:
            DataError: the file is missing, broken, declares a DOCTYPE, or holds a size, a box or a mark that is none.
        """
        file = self.root / "Annotations" / f"{self.ids[index]}.xml"
        tree = _parse(self.call, file)
        width, height = (self._number(file, tree, f"size/{side}") for side in ("width", "height"))
        if not all(side.is_integer() and 1 <= side <= LARGEST_SIDE for side in (width, height)):
            raise DataError(
                f"{self.call}: the sides of an image are whole numbers from 1 to {LARGEST_SIDE:,}",
                got=f"{file}: {width:.10g} x {height:.10g}",
                fix="mend or delete the file",
            )
        size = (int(width), int(height))
        found = enumerate(tree.findall("object"), start=1)
        return Annotated(self.path(index), size, tuple(self._object(file, i, node, size) for i, node in found))

    def _object(self, file: Path, number: int, node: ElementTree.Element, size: tuple[int, int]) -> Object:
        name = (node.findtext("name") or "").strip()
        where = f"{file}, object {number} {name!r}"
        if not name:
            raise DataError(f"{self.call}: an object has no name", got=where, fix="mend or delete the object")
        x0, y0, x1, y1 = (self._number(where, node, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax"))
        told = (x0 - 1, y0 - 1, x1, y1)
        box = fit_box(self.call, where, told, size)
        return Object(name, box, difficult=self._difficult(where, node), cut=reaches_far(told, size))

    def _difficult(self, where: str, node: ElementTree.Element) -> bool:
        """Not, where nothing is told."""
        text = node.findtext("difficult", "0").strip()
        if text not in ("0", "1"):
            raise DataError(
                f"{self.call}: 'difficult' is 0 or 1", got=f"{where}: {text!r}", fix="mend or delete the object"
            )
        return text == "1"

    def _number(self, where: Path | str, node: ElementTree.Element, path: str) -> float:
        text = node.findtext(path)
        try:
            number = float(text or "")
            int(number)  # which infinity and NaN are not
        except (ValueError, OverflowError):
            raise DataError(
                f"{self.call}: an annotation has no number at {path!r}",
                got=f"{where}: {'nothing' if text is None else repr(text)}",
                fix="mend or delete the file",
            ) from None
        return number


def open_voc(call: str, root: Path, part: str | None = None) -> Voc:
    """The images that ``ImageSets/Main/PART.txt`` lists, or all that have an annotation; none of them is read.

    Args:
        call: the call as the user wrote it, for messages.
        root: the folder that holds ``Annotations`` and ``JPEGImages``.
        part: such as ``train`` or ``test``; None takes all, sorted.

    Raises:
        DataError: a folder or the list is missing, or there is no image.
        OSError: the system refuses.
    """
    missing = [name for name in ("Annotations", "JPEGImages") if not (root / name).is_dir()]
    if missing:
        raise DataError(
            f"{call}: the folder must hold 'Annotations' and 'JPEGImages'",
            got=f"{root}: {'no such folder' if not root.is_dir() else 'no ' + ' and no '.join(map(repr, missing))}",
            fix="name the folder above 'Annotations', such as VOCdevkit/VOC2007",
        )
    if part is None:
        ids = sorted(file.stem for file in (root / "Annotations").glob("*.xml"))
        if not ids:
            raise DataError(
                f"{call}: there is no annotated image",
                got=str(root),
                fix="put one XML file an image into 'Annotations'",
            )
    else:
        ids = _listed(call, root / "ImageSets" / "Main", part)
    return Voc(call, root, tuple(ids))


def _listed(call: str, folder: Path, part: str) -> list[str]:
    """The first word of each line: lists of one class have a second one."""
    file = folder / f"{part}.txt"
    if not file.is_file():
        parts = sorted(other.stem for other in folder.glob("*.txt"))
        raise DataError(
            f"{call}: no list of images has this name",
            got=str(file),
            closest=closest(part, parts),
            fix="write it, the name of an image a line",
        )
    lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    ids = [words[0] for line in lines if (words := line.split())]
    if not ids:
        raise DataError(
            f"{call}: the list of images names none", got=str(file), fix="write the name of an image on each line"
        )
    return ids


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE where it begins, so that no entity is ever declared and none expanded."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("it declares a DOCTYPE, and nothing may be declared in an annotation")


def _parse(call: str, file: Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(file.read_bytes(), ElementTree.XMLParser(target=_NoDoctype()))
    except OSError as error:
        why, fix = error.strerror or str(error), "put the file there, or take the image out of the list"
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        why, fix = str(error), "mend or delete the file"
    raise DataError(f"{call}: an annotation cannot be read", got=f"{file}: {why}", fix=fix)
