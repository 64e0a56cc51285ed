import hashlib
import sys
import tarfile
import urllib.error
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from whatwhere.data import download, load
from whatwhere.errors import DataError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def archive(writer, tmp_path, monkeypatch):
    """CIFAR-100 as the one archive that its publishers offer, offered by this machine."""
    pytest.importorskip("torchvision")
    folder = writer.cifar100()
    path = tmp_path / "served" / "cifar-100-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as file:
        file.add(folder, folder.name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=path.parent)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{path.name}"
        sources = [(address, path.name, hashlib.md5(path.read_bytes()).hexdigest())]
        monkeypatch.setattr(download, "_sources", lambda name: sources)
        yield path
        server.shutdown()


def test_what_is_missing_is_downloaded_once(archive, tmp_path):
    root = tmp_path / "new" / "root"
    assert len(load("cifar100", root=root).test) == 3
    assert [entry.name for entry in root.iterdir()] == ["cifar-100-python"]
    assert sorted(entry.name for entry in (root / "cifar-100-python").iterdir()) == ["meta", "test", "train"]
    archive.unlink()
    assert len(load("cifar100", root=root).test) == 3


def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(archive, tmp_path):
    archive.write_bytes(archive.read_bytes() + b"more")
    root = tmp_path / "root"
    with pytest.raises(DataError) as caught:
        load("cifar100", root=root)
    assert str(caught.value) == (
        "load('cifar100'): its files are not here and could not be downloaded\n"
        f"  got: no folder 'cifar-100-python' in {root}; RuntimeError: File not found or corrupted.\n"
        "  fix: put the published files there, or name the folder that holds them by root= or WHATWHERE_DATA"
    )
    assert list(root.iterdir()) == []


def test_without_network_the_folder_looked_in_is_named_and_not_made(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(download, "_sources", lambda name: [("https://example.invalid/x", "x", "")])
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    root = tmp_path / "root"
    with pytest.raises(DataError) as caught:
        load("fashion-mnist", root=root)
    assert str(caught.value) == (
        "load('fashion-mnist'): its files are not here and could not be downloaded\n"
        f"  got: no folder 'fashion-mnist' or 'FashionMNIST/raw' in {root}; URLError: <urlopen error no network>\n"
        "  fix: put the published files there, or name the folder that holds them by root= or WHATWHERE_DATA"
    )
    assert not root.exists()


def test_without_torchvision_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DataError) as caught:
        load("cifar10", root=tmp_path)
    assert str(caught.value).splitlines()[1] == (
        f"  got: no folder 'cifar-10-batches-py' in {tmp_path}; "
        "torchvision, which downloads, is not installed (pip install 'whatwhere[lab]')"
    )


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cifar10", ["cifar-10-python.tar.gz"]),
        ("cifar100", ["cifar-100-python.tar.gz"]),
        (
            "fashion-mnist",
            [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")],
        ),
    ],
)
def test_torchvision_knows_where_each_set_is(name, files):
    pytest.importorskip("torchvision")
    sources = download._sources(name)
    assert [file for _, file, _ in sources] == files
    assert all(address.startswith("http") and len(md5) == 32 for address, _, md5 in sources)
