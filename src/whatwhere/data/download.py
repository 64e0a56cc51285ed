"""Where the files of a published set lie, and getting them when they do not."""

import os
import tarfile
import tempfile
import urllib.request
from pathlib import Path

from whatwhere.errors import DataError

__all__ = ["broken", "ensure"]

_PATIENCE = 10
"""Seconds to wait for a first answer; torchvision itself waits without end."""


def ensure(name: str, root: Path, *places: str) -> Path:
    """The first of ``places`` that is a folder under ``root``; where none is, the set is downloaded to the first.

    The download goes to a temporary folder beside it, is checked against torchvision's MD5 sums and renamed, so a
    broken-off one leaves nothing behind and two at once do no harm.

    Raises:
        DataError: no folder, and it could not be downloaded.
    """
    for place in places:
        if (root / place).is_dir():
            return root / place
    try:
        sources = _sources(name)
        _reach(sources[0][0])
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="download-") as scratch:
            _download(sources, Path(scratch), places[0])
            _move(Path(scratch) / places[0], root / places[0])
    except ImportError:
        reason = "torchvision, which downloads, is not installed (pip install 'whatwhere[lab]')"
    except (OSError, RuntimeError, tarfile.TarError) as error:
        reason = f"{type(error).__name__}: {error}"
    else:
        return root / places[0]
    raise DataError(
        f"load({name!r}): its files are not here and could not be downloaded",
        got=f"no folder {' or '.join(map(repr, places))} in {root}; {reason}",
        fix="put the published files there, or name the folder that holds them by root= or WHATWHERE_DATA",
    )


def _sources(name: str) -> list[tuple[str, str, str]]:
    """Address, file name and MD5 sum of each file of the set, as torchvision knows them."""
    from torchvision import datasets

    if name == "fashion-mnist":
        return [(datasets.FashionMNIST.mirrors[0] + file, file, md5) for file, md5 in datasets.FashionMNIST.resources]
    source = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    return [(source.url, source.filename, source.tgz_md5)]


def _download(sources: list[tuple[str, str, str]], scratch: Path, place: str) -> None:
    from torchvision.datasets.utils import download_url

    for address, file, md5 in sources:
        download_url(address, scratch / place, file, md5)
        if file.endswith(".tar.gz"):  # it holds the folder itself
            with tarfile.open(scratch / place / file) as archive:
                archive.extractall(scratch, filter="data")
            (scratch / place / file).unlink()


def _reach(address: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PATIENCE):
        pass


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError:
        if not target.is_dir():  # else another process has just put it there
            raise


def broken(name: str, file: Path, rule: str, got: str = "") -> DataError:
    """The error for a file that is not what the set's publishers put out."""
    return DataError(
        f"load({name!r}): the file {file.name!r} {rule}",
        got=f"{file}: {got}" if got else str(file),
        fix=f"delete the folder {file.parent} and load again, which downloads it",
    )
