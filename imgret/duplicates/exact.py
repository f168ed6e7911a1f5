"""Photos whose files hold the same bytes, by their digests."""

import numpy as np


def copies(heads, whole):
    """Groups of equal digests.

    Parameters
    ----------
    heads : ndarray, shape (N,), uint64
        The first eight bytes of each photo's digest.
    whole : callable
        `whole(rows)`: the digests (n, 32) of some rows, ascending: only of those whose first bytes are some other's too.

    Returns
    -------
    ndarray, shape (N,), int64
        For each photo the first one with the same digest: itself where there is none before it. A digest of zeros is none.
    """
    first = np.arange(len(heads))
    order = np.argsort(heads, kind="stable")
    same = heads[order][1:] == heads[order][:-1]
    shared = np.zeros(len(heads), bool)
    shared[order[1:][same]] = shared[order[:-1][same]] = True
    rows = np.flatnonzero(shared)
    if not len(rows):
        return first
    digests = np.ascontiguousarray(whole(rows))
    rows, digests = rows[digests.any(axis=1)], digests[digests.any(axis=1)]
    _, where, which = np.unique(digests.view("V32").ravel(), return_index=True, return_inverse=True)
    first[rows] = rows[where[which]]
    return first
