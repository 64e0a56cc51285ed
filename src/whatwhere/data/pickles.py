"""Reads CIFAR's pickles without running what a pickle may ask to run.

The published files are Python 2 pickles of dicts, lists, integers, byte strings and one uint8 array. Only numpy's three
array-building globals are let through, and even those are answered by stand-ins below, so that no code but this file's
runs and no array but a checked one is made.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.download import broken

__all__ = ["read"]

_NOT_A_PICKLE = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)


def read(name: str, path: Path) -> dict[str, Any]:
    """What a pickled dict holds: keys as str, byte strings as bytes, arrays as uint8 arrays.

    Args:
        name: the data set's, for messages.
        path: the file.

    Raises:
        DataError: the file is missing, broken off or no pickle of a dict, or asks for anything but a uint8 array.
    """
    if not path.is_file():
        raise broken(name, path, "is missing")
    with path.open("rb") as file:
        unpickler = _Unpickler(file, encoding="bytes")
        try:
            content = unpickler.load()
        except _Refused as refusal:
            raise broken(name, path, f"asks for {refusal}; nothing was run") from None
        except _NOT_A_PICKLE as error:
            raise broken(name, path, "is broken off or no pickle", f"{type(error).__name__}: {error}") from None
    if not isinstance(content, dict):
        raise broken(name, path, "holds no dict", type(content).__name__)
    return {
        key.decode("ascii", "replace") if isinstance(key, bytes) else str(key): _array(value)
        for key, value in content.items()
    }


class _Refused(Exception):
    """What the pickle asked for."""


class _Uint8:
    """Stands in for the dtype; only ``u1`` there is."""

    def __init__(self, code: object, align: object, copy: object) -> None:
        if code not in (b"u1", "u1"):
            raise _Refused(f"an array of {code!r}")

    def __setstate__(self, state: object) -> None:
        """Byte order and fields: a byte has none, so there is nothing to take over."""


class _Array:
    """Stands in for the array until its parts are checked."""

    values: NDArray[np.uint8]

    def __setstate__(self, state: tuple[object, tuple[int, ...], object, object, bytes]) -> None:
        _, shape, kind, columns_first, data = state
        if not isinstance(kind, _Uint8) or not isinstance(data, bytes):
            raise TypeError("an array of something else than bytes")
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order="F" if columns_first else "C")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    return _Array()


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Uint8,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[module, name]


def _array(value: object) -> object:
    return getattr(value, "values", value) if isinstance(value, _Array) else value
