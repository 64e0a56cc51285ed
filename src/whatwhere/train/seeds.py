"""Where a trial's chance comes from: a number for each purpose, epoch and step, so that a position is all there is."""

import hashlib

__all__ = ["seed_of"]


def seed_of(purpose: str, *place: int) -> int:
    """63 bits that look random, the same for the same ``purpose`` and ``place`` on every machine."""
    words = " ".join([purpose, *map(str, place)])
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big") >> 1
