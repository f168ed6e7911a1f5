"""Numbers that ask packed bits: their signs, and their magnitudes in a few bits, so that similarities are counts of bits."""

import numpy as np


def planes(rows, magnitudes):
    """Signs and magnitudes of rows, as bits, and the line that gives the similarity by what disagrees.

    A row q becomes n = round(m |q| / max |q|), m being the largest number of so many bits, with the signs of q. Its similarity to signs s,
    Σ n s / (|n| √d), is (Σ |n| − 2 Σ of those |n| whose signs differ) / (|n| √d).

    Parameters
    ----------
    rows : ndarray, shape (n, d), float
    magnitudes : int
        Bits.

    Returns
    -------
    packed : ndarray, shape (n, magnitudes + 1, ceil(d / 8)), uint8
        Whether each number is above 0, then bit after bit of the magnitudes, the lowest first; packed as signatures are.
    line : ndarray, shape (n, 2), float32
        The similarity where nothing disagrees, and by how much it falls for each 1 of magnitude that does.
    """
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(axis=1, initial=0, keepdims=True)
    whole = np.rint(np.abs(rows) * ((1 << magnitudes) - 1) / np.where(largest > 0, largest, 1)).astype(np.int64)
    bits = np.stack([rows > 0, *(whole >> plane & 1 for plane in range(magnitudes))], axis=1)
    length = np.sqrt((whole**2).sum(axis=1) * max(1, rows.shape[1]))
    length = np.where(length > 0, length, np.inf)
    line = np.stack([whole.sum(axis=1) / length, 2 / length], axis=1).astype(np.float32)
    return np.packbits(bits.astype(np.uint8), axis=2, bitorder="little"), line
