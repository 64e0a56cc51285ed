"""What lies where in the shards of a data set: written with them, or found out by reading through them once."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from whatwhere.errors import DataError
from whatwhere.files import replace_file

__all__ = ["INDEX", "Index", "Shard", "cached_index", "read_index"]

INDEX = "whatwhere-index.json"
_FORMAT = 1
_ANEW = f"copy the shards again, or delete {INDEX}, so that they are read through anew"


@dataclass(frozen=True)
class Shard:
    """One tar file and the encoded images in it, which lie there as they are.

    Args:
        name: of the file.
        bytes: its length.
        sha256: of the file; "" where nobody has reckoned it.
        starts: first byte of each image; likewise ``sizes``, their bytes, and ``labels``.
        sizes: see ``starts``.
        labels: see ``starts``.
    """

    name: str
    bytes: int
    sha256: str
    starts: list[int]
    sizes: list[int]
    labels: list[int]

    @classmethod
    def of(cls, record: object) -> "Shard":
        """A shard of what JSON gave.

        Raises:
            TypeError: it is not of this form.
            ValueError: it is, and cannot be true.
        """
        if not isinstance(record, dict):
            raise TypeError("a shard is no object")
        record = {key: value for key, value in record.items() if key != "images"}
        shard = cls(**record)
        columns = (shard.starts, shard.sizes, shard.labels)
        numbers = [shard.bytes, *(number for column in columns for number in column)]
        if not isinstance(shard.name, str) or Path(shard.name).name != shard.name:
            raise TypeError("a shard's name is no file's name")
        if any(type(number) is not int for number in numbers):
            raise TypeError(f"{shard.name}: not all are whole numbers")
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"{shard.name}: starts, sizes and labels of unequal number")
        if any(a < 0 or b < 0 or a + b > shard.bytes for a, b in zip(shard.starts, shard.sizes, strict=True)):
            raise ValueError(f"{shard.name}: an image lies outside")
        return shard

    def record(self) -> dict[str, object]:
        """What JSON takes."""
        return {"images": len(self.labels), **asdict(self)}


@dataclass(frozen=True)
class Index:
    """The shards of each part of a data set.

    Args:
        classes: the name of each label.
        parts: by name.
        made_from: digest of what they were written from; "" where that is not known.
    """

    classes: tuple[str, ...]
    parts: dict[str, list[Shard]]
    made_from: str = ""

    def write(self, path: Path) -> None:
        """Put it there in one step.

        Raises:
            OSError: the system refuses.
        """
        parts = {
            name: {"images": sum(len(shard.labels) for shard in shards), "shards": [shard.record() for shard in shards]}
            for name, shards in self.parts.items()
        }
        text = {"format": _FORMAT, "made_from": self.made_from, "classes": list(self.classes), "parts": parts}
        replace_file(path, json.dumps(text, separators=(",", ":")).encode())


def read_index(call: str, path: Path, root: Path) -> Index:
    """The index at ``path``, held against the shards in ``root``: their names and lengths, and the labels' range.

    Raises:
        DataError: it is no index, or the shards are not those it was made of.
        OSError: the system refuses.
    """
    try:
        index = _parse(path.read_bytes())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{call}: the index of the shards is damaged",
            got=f"{path}: {type(error).__name__}: {error}",
            fix="write the shards again, or delete the index: they are then read through anew, without class names",
        ) from None
    _check_files(call, index, root)
    _check_labels(call, index)
    return index


def _parse(data: bytes) -> Index:
    found = json.loads(data)
    if found["format"] != _FORMAT:
        raise ValueError(f"format {found['format']!r}, where {_FORMAT} is read")
    classes, parts = found["classes"], found["parts"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise TypeError("the classes are no names")
    shards = {name: [Shard.of(record) for record in part["shards"]] for name, part in parts.items()}
    return Index(tuple(classes), shards, str(found["made_from"]))


def _check_files(call: str, index: Index, root: Path) -> None:
    known = {shard.name: shard.bytes for shards in index.parts.values() for shard in shards}
    there = {path.name for path in root.glob("*.tar") if not path.name.startswith(".")}
    missing, strange = sorted(set(known) - there), sorted(there - set(known))
    if missing:
        raise DataError(
            f"{call}: a shard is missing",
            got=f"{root}: {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            fix=_ANEW,
        )
    if strange:
        raise DataError(
            f"{call}: a shard is not in the index",
            got=f"{root}: {strange[0]}" + (f" and {len(strange) - 1} more" if len(strange) > 1 else ""),
            fix=f"move it away, or delete {INDEX}, so that all are read through anew",
        )
    for name, size in known.items():
        found = (root / name).stat().st_size
        if found != size:
            raise DataError(
                f"{call}: a shard is not as long as its index says",
                got=f"{root / name}: {found:,} bytes, the index says {size:,}",
                fix=_ANEW,
            )


def _check_labels(call: str, index: Index) -> None:
    for shards in index.parts.values():
        for shard in shards:
            odd = [label for label in shard.labels if not 0 <= label < len(index.classes)]
            if odd:
                raise DataError(
                    f"{call}: a label is out of range",
                    got=f"{shard.name}: label {odd[0]} for {len(index.classes)} classes, which count from 0",
                    fix="write the shards again",
                )


def cached_index(root: Path, cache: Path) -> Sequence[Path]:
    """Where the index of the shards in ``root`` may be: among them, or in ``cache`` where that folder is closed."""
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return root / INDEX, cache / f"shards-{digest}.json"
