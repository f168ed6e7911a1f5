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
    sizes = np.abs(rows.astype(np.float32))
    largest = sizes.max(axis=1, initial=0, keepdims=True)
    whole = np.rint(sizes * (np.float32((1 << magnitudes) - 1) / np.where(largest > 0, largest, 1))).astype(np.uint8)
    bits = [rows > 0, *(whole & (1 << plane) for plane in range(magnitudes))]
    length = np.sqrt(np.einsum("nd,nd->n", whole, whole, dtype=np.int64) * max(1, rows.shape[1]))
    length = np.where(length > 0, length, np.inf)
    line = np.stack([whole.sum(axis=1, dtype=np.int64) / length, 2 / length], axis=1).astype(np.float32)
    return np.stack([np.packbits(plane, axis=1, bitorder="little") for plane in bits], axis=1), line
