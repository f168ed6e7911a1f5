"""Which photo of several copies to keep, and which are copies of it."""

import numpy as np


def preference(image_size, file_size, mtime_ns):
    """Rows (N,) in the order in which they are kept: most pixels, largest file, oldest, then as they come (by name)."""
    pixels = image_size.astype(np.int64).prod(axis=1)
    return np.lexsort((np.arange(len(pixels)), mtime_ns, -file_size.astype(np.int64), -pixels))


def kept_ones(order, count, first, second, joins=None):
    """Which photo each is a copy of.

    In the order of preference, a photo that no other has taken is kept, and takes those left that match it; then, as far as `joins` says,
    those that match what it has taken, and so on. So no two that are kept match.

    Parameters
    ----------
    order : ndarray, shape (n,)
        Those that are looked at, the preferred one first.
    count : int
        N, of all.
    first, second : ndarray, shape (P,)
        Rows that match.
    joins : callable, optional
        `joins(keep, member, other, pair)`: whether `other`, which matches `member` by a pair, is a copy of `keep`; asked of what matches
        `keep` itself first. By default these are all.

    Returns
    -------
    ndarray, shape (N,), int64
        The row of the photo that is kept for each: its own, where that is itself.
    """
    joins = joins or (lambda keep, member, other, pair: member == keep)
    keep, taken = np.arange(count), np.zeros(count, bool)
    ends, others, pair = np.concatenate([first, second]), np.concatenate([second, first]), np.tile(np.arange(len(first)), 2)
    sorting = np.argsort(ends, kind="stable")
    others, pair = others[sorting].tolist(), pair[sorting].tolist()
    starts = np.searchsorted(ends[sorting], np.arange(count + 1))
    for row in order[np.diff(starts)[order] > 0].tolist():
        if taken[row]:
            continue
        taken[row], members = True, [row]
        for member in members:  # which grows
            for place in range(starts[member], starts[member + 1]):
                other = others[place]
                if not taken[other] and joins(row, member, other, pair[place]):
                    taken[other], keep[other] = True, row
                    members.append(other)
    return keep
