"""The compiled loop that tells which entries of a word are one descriptor seen several times."""

import numpy as np

from imgret.compiled import compiled
from imgret.memory import popcount


@compiled
def alike(words, bits, most, firsts):
    """Of each entry the first of its word whose signature differs in at most `most` bits, among those that are such firsts themselves.

    Parameters
    ----------
    words : ndarray, shape (n,), int64
        Ascending.
    bits : ndarray, shape (n, W), uint64
    most : int
    firsts : ndarray, shape (n,), int64
        Written.
    """
    start = 0
    for one in range(len(words)):
        if words[one] != words[start]:
            start = one
        firsts[one] = one
        for other in range(start, one):
            if firsts[other] != other:
                continue
            differ = np.int64(0)
            for part in range(bits.shape[1]):
                differ += popcount(bits[one, part] ^ bits[other, part])
            if differ <= most:
                firsts[one] = other
                break
