"""Reading through shards that came without an index of ours."""

import re
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO

from whatwhere.data.shard_index import Index, Shard
from whatwhere.errors import DataError

__all__ = ["part_of", "scan"]

_NAME = re.compile(r"(?:.*[-_.])?(train|validation|val|test)[-_.]?\d+\.tar")
_IMAGES = {"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm"}
_BLOCK = 512


def part_of(name: str) -> str | None:
    """``train``, ``val`` or ``test`` of a shard named like ``train-000000.tar`` or ``set-validation-00.tar``."""
    match = _NAME.fullmatch(name.lower())
    return {"validation": "val"}.get(match[1], match[1]) if match else None


def scan(call: str, root: Path) -> Index:
    """The index of the shards in a folder; a progress bar on stderr when somebody watches.

    A sample is what lies side by side under one name: an image (``key.jpg``, ``key.png``, ...) and its label
    (``key.cls``, a whole number from 0); more of it is passed over. Classes are named by their numbers. Only headers
    and labels are read, about 18,000 samples a second on a local disk.

    Raises:
        DataError: a file is no whole tar file, a sample lacks its image or label, a class has no training image, or
            another part has classes that the training images lack.
        OSError: the system refuses.
    """
    from rich.console import Console
    from rich.progress import track

    paths = sorted(path for path in root.glob("*.tar") if not path.name.startswith("."))
    parts: dict[str, list[Shard]] = {}
    shown = sys.stderr.isatty()
    for path in track(paths, "reading shards", console=Console(stderr=True), transient=True, disable=not shown):
        part = part_of(path.name)
        if part is None:
            raise DataError(
                f"{call}: a shard's name does not say which part it belongs to",
                got=str(path),
                fix="name shards train-000000.tar, val-000000.tar or test-000000.tar and so on",
            )
        parts.setdefault(part, []).append(_scan_one(call, path))
    return Index(_classes(call, parts), parts)


def _scan_one(call: str, path: Path) -> Shard:
    places: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    with open(path, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    folder, _, base = member.name.rpartition("/")
                    stem, _, kind = base.partition(".")
                    key = f"{folder}/{stem}"
                    if member.isreg() and kind.lower() in _IMAGES:
                        if key in places:
                            raise _twice(call, path, member.name)
                        places[key] = (member.offset_data, member.size)
                    elif member.isreg() and kind == "cls":
                        labels[key] = _label(call, path, member.name, _bytes(file, member.offset_data, member.size))
                end = tar.offset
        except tarfile.TarError as error:
            raise _broken(call, path, f"{type(error).__name__}: {error}") from None
        if _bytes(file, end, _BLOCK) != bytes(_BLOCK):  # the mark of the end; tarfile takes a broken header for one
            raise _broken(call, path, f"breaks off after {end:,} bytes")
    alone = sorted(set(places) ^ set(labels))
    if alone:
        lack = "label" if alone[0] in places else "image"
        raise DataError(
            f"{call}: a sample of a shard has no {lack}",
            got=f"{path}: {alone[0].removeprefix('/')}",
            fix="each sample is KEY.jpg (or another image) and KEY.cls",
        )
    starts, sizes = ([place[i] for place in places.values()] for i in (0, 1))
    return Shard(path.name, path.stat().st_size, "", starts, sizes, [labels[key] for key in places])


def _bytes(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _label(call: str, path: Path, name: str, text: bytes) -> int:
    try:
        label = int(text)
    except ValueError:
        label = -1
    if label < 0:
        raise DataError(
            f"{call}: a label of a shard is no whole number from 0",
            got=f"{path}: {name}: {text[:20].decode(errors='replace')!r}",
            fix="write the class's number into KEY.cls",
        )
    return label


def _twice(call: str, path: Path, name: str) -> DataError:
    return DataError(
        f"{call}: a sample of a shard has two images",
        got=f"{path}: {name} is the second",
        fix="give each sample of a shard a name of its own",
    )


def _broken(call: str, path: Path, why: str) -> DataError:
    return DataError(
        f"{call}: a shard is no whole, uncompressed tar file",
        got=f"{path}: {why}",
        fix="copy or unpack it again",
    )


def _classes(call: str, parts: dict[str, list[Shard]]) -> tuple[str, ...]:
    labels = {part: {label for shard in shards for label in shard.labels} for part, shards in parts.items()}
    learnt = labels.get("train", set())
    absent = next((label for label in range(len(learnt)) if label not in learnt), None)
    if absent is not None:
        raise DataError(
            f"{call}: a class has no training image",
            got=f"label {absent}; the labels go to {max(learnt)}",
            fix="number the classes from 0 without a gap",
        )
    for part, found in labels.items():
        if learnt and found - learnt:  # without any, the shards of 'train' are what is missing
            raise DataError(
                f"{call}: {part!r} must hold classes that 'train' holds",
                got=f"label {min(found - learnt)}; those of 'train' go from 0 to {len(learnt) - 1}",
                fix="number the classes of all parts alike",
            )
    return tuple(str(label) for label in range(len(learnt)))
