"""Tiny sets in the published formats."""

import gzip
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class Python2Pickler(pickle._Pickler):  # the one in Python: its dispatch table can be changed
    """Writes byte strings as Python 2 wrote its str, which is how the CIFAR files hold all their text and pixels."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_str2(self, value: bytes | str) -> None:
        raw = value.encode() if isinstance(value, str) else value
        self.write(b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_str2


def python2_pickle(value: Any) -> bytes:
    out = io.BytesIO()
    Python2Pickler(out, protocol=2).dump(value)
    return out.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


class Writer:
    """Writes published sets under one root; every file's content can be replaced by keyword."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def pixels(self, count: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)

    def pickled(self, folder: str, file: str, content: Any) -> Path:
        path = self.root / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else python2_pickle(content))
        return path

    def cifar10(self) -> Path:
        folder = "cifar-10-batches-py"
        self.pickled(folder, "batches.meta", {"label_names": [f"class{i}" for i in range(10)], "num_vis": 3072})
        for i in range(5):
            self.pickled(folder, f"data_batch_{i + 1}", {"data": self.pixels(10, i), "labels": list(range(10))})
        self.pickled(folder, "test_batch", {"data": self.pixels(4, 9), "labels": [9, 8, 7, 6]})
        return self.root / folder

    def cifar100(self, **train: Any) -> Path:
        folder = "cifar-100-python"
        self.pickled(folder, "meta", {"fine_label_names": [f"fine{i}" for i in range(100)], "coarse_label_names": []})
        content = {"data": self.pixels(20), "fine_labels": list(range(10)) * 2, "coarse_labels": [0] * 20, **train}
        self.pickled(folder, "train", {key: value for key, value in content.items() if value is not None})
        self.pickled(folder, "test", {"data": self.pixels(3, 1), "fine_labels": [99, 0, 5], "batch_label": "test"})
        return self.root / folder

    def idx(self, array: np.ndarray, file: str, folder: str = "fashion-mnist") -> Path:
        path = self.root / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        content = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
        path.write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
        return path

    def fashion_mnist(self, suffix: str = ".gz", folder: str = "fashion-mnist") -> Path:
        for part, count in (("train", 20), ("t10k", 5)):
            images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
            self.idx(images, f"{part}-images-idx3-ubyte{suffix}", folder)
            self.idx((np.arange(count) % 10).astype(np.uint8), f"{part}-labels-idx1-ubyte{suffix}", folder)
        return self.root / folder


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)
