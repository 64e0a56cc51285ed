"""A folder tree of images written as shards."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from whatwhere.data.decode import THREADS, need_pillow, readable, rgb
from whatwhere.data.folder import Listing, list_parts
from whatwhere.data.shard_index import INDEX, Index, Shard
from whatwhere.errors import DataError
from whatwhere.files import replace_file, way_out

__all__ = ["Written", "write_shards"]

_QUALITY = 95
_PROBED = 100
_PADDING = 2048
"""Bytes that a tar file adds to a sample: two headers, the label's block, half a block on average; the ends aside."""
_AGAIN = "then run the same command again; finished shards are kept"


@dataclass(frozen=True)
class Written:
    """One shard done.

    Args:
        shard: what is in it.
        images: of all shards done so far.
        total: images there will be.
        kept: whether it was there already.
    """

    shard: Shard
    images: int
    total: int
    kept: bool


@dataclass(frozen=True)
class _Task:
    """One shard to write: its images in order, the first one's number in its part."""

    name: str
    files: Sequence[str]
    labels: Sequence[int]
    first: int


@dataclass(frozen=True)
class _Way:
    """How and where to write: the call for messages, the folder, the digest of the source and settings."""

    call: str
    out: Path
    made_from: str
    image_size: int | None

    def note(self, task: _Task) -> Path:
        """Where a finished shard is described until the index is written."""
        return self.out / f".{task.name}.json"


def write_shards(
    source: Path,
    out: Path,
    *,
    size_mb: float = 256,
    image_size: int | None = None,
    workers: int | None = None,
    tell: Callable[[Written], None] | None = None,
) -> Index:
    """Writes ``train-000000.tar`` ... and ``val-000000.tar`` ... (``test`` too), and last ``whatwhere-index.json``.

    A sample is ``KEY.jpg`` (or as the file is called) and ``KEY.cls``, the class's number as text, so other readers of
    WebDataset shards can read them. The images are shuffled, always in the same way, and the same source gives the
    same bytes. Every image is decoded once to see that it is whole. A shard appears when it is finished, and the same
    call goes on after an interruption. Takes ``size_mb`` of memory a worker.

    Args:
        source: the folder of ``train`` and of ``val`` and, or, ``test``, with a folder a class.
        out: made when missing.
        size_mb: about the length of a shard, in units of 10**6 bytes.
        image_size: images whose shorter side is longer are scaled down to it and encoded as JPEG of quality 95;
            smaller ones, and all if None, keep their bytes.
        workers: threads; None takes one a CPU, eight at most.
        tell: called after each shard, in this thread.

    Raises:
        DataError: the source is not of this form, an image cannot be read, ``out`` holds other shards, there is no
            room, or an argument is out of range.
    """
    call = f"shards {source} {out}"
    for name, value in (("size-mb", size_mb), ("image-size", image_size), ("workers", workers)):
        if value is not None and not value > 0:
            raise DataError(f"{call} --{name}: a number above 0", got=f"--{name} {value}")
    need_pillow(call)
    try:
        classes, parts = list_parts(call, source, fix="name the folder above 'train'")
        sizes = {file: os.path.getsize(file) for listing in parts.values() for file in listing.files}
        way = _Way(call, out, _digest(classes, sizes, source, size_mb, image_size), image_size)
        tasks = {name: _tasks(call, name, part, sizes, size_mb, image_size) for name, part in parts.items()}
        flat = [task for each in tasks.values() for task in each]
        out.mkdir(parents=True, exist_ok=True)
        done = _done(way, flat)
        missing = [task for task in flat if task.name not in done]
        _check_room(way, missing, sizes)
        _write(way, missing, done, workers or min(THREADS, os.cpu_count() or 1), tell)
        shards = {part: [done[task.name] for task in each] for part, each in tasks.items()}
        index = Index(classes, shards, way.made_from)
        index.write(out / INDEX)
        for task in flat:
            way.note(task).unlink(missing_ok=True)
    except OSError as error:
        fix = way_out(error)
        raise DataError(
            f"{call}: {(error.strerror or str(error)).lower()}",
            got=str(error.filename or out),
            fix=f"{fix}, {_AGAIN}" if fix else "",
        ) from error
    return index


def _digest(
    classes: tuple[str, ...], sizes: dict[str, int], source: Path, size_mb: float, image_size: int | None
) -> str:
    """Of all that decides the bytes of the shards, but for what is in the files, of which the length stands in."""
    import PIL

    files = [[os.path.relpath(file, source), size] for file, size in sizes.items()]
    encoder = PIL.__version__ if image_size else None
    return hashlib.sha256(json.dumps([classes, files, size_mb, image_size, encoder]).encode()).hexdigest()


def _tasks(
    call: str, part: str, listing: Listing, sizes: dict[str, int], size_mb: float, image_size: int | None
) -> list[_Task]:
    """The shards of one part: all of the same number of images but for the last."""
    shuffled = listing.take(torch.randperm(len(listing.files), generator=torch.Generator().manual_seed(0)))
    files, labels = shuffled.files, shuffled.labels.tolist()
    if image_size is None:
        mean = sum(sizes[file] for file in files) / len(files)
    else:
        probe = files[:_PROBED]
        mean = sum(len(_encoded(call, file, image_size)[0]) for file in probe) / len(probe)
    each = max(1, int(size_mb * 1e6 / (mean + _PADDING)))
    return [
        _Task(f"{part}-{i:06}.tar", files[start : start + each], labels[start : start + each], start)
        for i, start in enumerate(range(0, len(files), each))
    ]


def _done(way: _Way, tasks: Sequence[_Task]) -> dict[str, Shard]:
    """The shards of this very source that are there already, and whole."""
    there = {path.name for path in way.out.glob("*.tar") if not path.name.startswith(".")}
    known: dict[str, Shard] = {}
    try:
        if (way.out / INDEX).exists():
            found = json.loads((way.out / INDEX).read_bytes())
            if found["made_from"] == way.made_from:
                records = [record for part in found["parts"].values() for record in part["shards"]]
                known = {shard.name: shard for shard in map(Shard.of, records)}
        for note in (note for task in tasks if (note := way.note(task)).exists()):
            found = json.loads(note.read_bytes())
            if found["made_from"] == way.made_from:
                shard = Shard.of(found["shard"])
                known[shard.name] = shard
    except (ValueError, TypeError, KeyError, AttributeError):
        known = {}
    if there - set(known):  # a shard of ours is described before it appears
        raise DataError(
            f"{way.call}: the folder holds shards of another source, or written in another way",
            got=f"{way.out}: {min(there - set(known))}",
            fix="name another folder, or empty this one",
        )
    return {name: known[name] for name in there if (way.out / name).stat().st_size == known[name].bytes}


def _check_room(way: _Way, tasks: Sequence[_Task], sizes: dict[str, int]) -> None:
    if way.image_size is not None:  # what that will take is not known
        return
    needed = sum(sizes[file] + _PADDING for task in tasks for file in task.files)
    free = shutil.disk_usage(way.out).free
    if needed > free:
        raise DataError(
            f"{way.call}: there is no room for the shards",
            got=f"{needed / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free",
            fix=f"free some space or name another folder, {_AGAIN}",
        )


def _write(
    way: _Way,
    tasks: Sequence[_Task],
    done: dict[str, Shard],
    workers: int,
    tell: Callable[[Written], None] | None,
) -> None:
    """Writes what is missing and adds it to ``done``."""
    total = sum(len(shard.labels) for shard in done.values()) + sum(len(task.files) for task in tasks)
    images = 0
    stop = threading.Event()

    def report(shard: Shard, kept: bool) -> None:
        nonlocal images
        images += len(shard.labels)
        if tell is not None:
            tell(Written(shard, images, total, kept))

    for name in sorted(done):
        report(done[name], True)
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_write_one, way, task, stop) for task in tasks]
        try:
            for future in as_completed(futures):
                shard = future.result()
                done[shard.name] = shard
                report(shard, False)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


class _Stopped(Exception):
    """Another thread has failed."""


def _write_one(way: _Way, task: _Task, stop: threading.Event) -> Shard:
    buffer = io.BytesIO()
    starts, sizes = [], []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (file, label) in enumerate(zip(task.files, task.labels, strict=True), task.first):
            if stop.is_set():
                raise _Stopped
            data, kind = _encoded(way.call, file, way.image_size)
            starts.append(tar.offset + tarfile.BLOCKSIZE)
            sizes.append(len(data))
            _add(tar, f"{number:08}.{kind}", data)
            _add(tar, f"{number:08}.cls", str(label).encode())
    content = buffer.getbuffer()
    shard = Shard(task.name, len(content), hashlib.sha256(content).hexdigest(), starts, sizes, list(task.labels))
    note = json.dumps({"made_from": way.made_from, "shard": shard.record()}).encode()
    files: dict[Path, bytes | memoryview] = {way.note(task): note, way.out / task.name: content}
    for path, written in files.items():
        try:
            replace_file(path, written)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
    return shard


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # its time, owner and rights are always the same
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _encoded(call: str, file: str, image_size: int | None) -> tuple[bytes, str]:
    """The bytes of an image that is whole, and the end of its name."""
    from PIL import Image

    with readable(call, file):
        data = Path(file).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            short = min(picture.size)
            if image_size is None or short <= image_size:
                picture.draft(None, (1, 1))  # a JPEG's small picture needs all its bytes too
                picture.load()
                return data, {"jpeg": "jpg"}.get(kind := Path(file).suffix.lower()[1:], kind)
            width, height = (round(side * image_size / short) for side in picture.size)
            encoded = io.BytesIO()
            rgb(picture).resize((width, height), Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=_QUALITY)
    return encoded.getvalue(), "jpg"
