"""Randomness that survives a kill: seeds that follow from what they are for, and from nothing that ran before."""

import hashlib


def seed_of(seed, *purpose):
    """A seed of 63 bits for one purpose.

    Parameters
    ----------
    seed : int
    *purpose : int, str or bytes
        ("augment", epoch, photo's name).
    """
    text = b"\0".join(each if isinstance(each, bytes) else str(each).encode() for each in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
