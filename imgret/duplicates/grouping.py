"""Which photo of several copies to keep, and which are copies of it."""

import numpy as np


def preference(image_size, file_size, mtime_ns):
    """Rows (N,) in the order in which they are kept: most pixels, largest file, oldest, then as they come (by name)."""
    pixels = image_size.astype(np.int64).prod(axis=1)
    return np.lexsort((np.arange(len(pixels)), mtime_ns, -file_size.astype(np.int64), -pixels))


def kept_ones(order, count, first, second):
    """Which photo each is a copy of.

    In the order of preference, a photo that matches none kept so far is kept, and those left that match it are its copies. So every copy
    matches the photo that is kept for it, directly; and no two that are kept match.

    Parameters
    ----------
    order : ndarray, shape (n,)
        Those that are looked at, the preferred one first.
    count : int
        N, of all.
    first, second : ndarray, shape (P,)
        Rows that match.

    Returns
    -------
    keep : ndarray, shape (N,), int64
        The row of the photo that is kept for each: its own, where that is itself.
    by : ndarray, shape (N,), int64
        The pair by which it is its copy; -1 where it is kept.
    """
    keep, by = np.arange(count), np.full(count, -1, np.int64)
    ends, pair = np.concatenate([first, second]), np.tile(np.arange(len(first)), 2)
    others = np.concatenate([second, first])
    sorting = np.argsort(ends, kind="stable")
    others, pair = others[sorting], pair[sorting]
    starts = np.searchsorted(ends[sorting], np.arange(count + 1))
    taken = np.zeros(count, bool)
    for row in order[np.diff(starts)[order] > 0].tolist():
        if taken[row]:
            continue
        taken[row] = True
        for place in range(starts[row], starts[row + 1]):
            other = others[place]
            if not taken[other]:
                taken[other], keep[other], by[other] = True, row, pair[place]
    return keep, by
