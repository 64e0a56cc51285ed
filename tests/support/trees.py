"""Trees of small pictures, and shards made of them by hand."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def picture(seed: int, *, width: int = 24, height: int = 18, kind: str = "JPEG") -> bytes:
    """Noise that is smooth enough for JPEG, other for each seed."""
    rough = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC).save(out, kind)
    return out.getvalue()


def tree(root: Path, *, train: int = 12, val: int = 4, classes: tuple[str, ...] = CLASSES) -> Path:
    """``root/train`` and ``root/val`` with so many pictures a class, of several sizes."""
    seed = 0
    for part, count in (("train", train), ("val", val)):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                seed += 1
                (root / part / name / f"{i:02}.JPEG").write_bytes(picture(seed, width=20 + seed % 7, height=30))
    return root


def shard(path: Path, members: dict[str, bytes]) -> Path:
    """A tar file as others write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def foreign(root: Path, *, train: int = 6, val: int = 3) -> Path:
    """Two shards without an index: samples of classes 0, 1, 2 in turn, with a text beside each."""
    for part, count, first in (("set-train-0000.tar", train, 0), ("set-validation-0000.tar", val, 100)):
        members = {}
        for i in range(count):
            members |= {f"a/{i:03}.cls": str(i % 3).encode(), f"a/{i:03}.jpg": picture(first + i)}
            members |= {f"a/{i:03}.json": b"{}"}
        shard(root / part, members)
    return root
