"""Whether images fit into memory, told before they are read."""

import os
from pathlib import Path

from whatwhere.errors import DataError

__all__ = ["check_memory"]


def check_memory(call: str, images: int, image_size: int) -> None:
    """Compares the bytes of so many square RGB images with the memory that is free; silent where that is not known.

    Raises:
        DataError: they do not fit.
    """
    needed, free = 3 * images * image_size**2, _free()
    if free is not None and needed > free:
        sizes = f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
        raise DataError(
            f"{call}: the images do not fit into memory, where they are all held",
            got=f"{images:,} images of {image_size} x {image_size} are {sizes}",
            fix="fewer training images by limit= (--limit), or smaller ones by image_size= (--image-size)",
        )


def _free() -> int | None:
    """Bytes that can be had: what Linux reckons, file caches given up; elsewhere all there are; None if not told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no such function, as on Windows, or no such figure
        return None
