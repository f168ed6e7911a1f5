"""Several lists of a query's photos to one: what each says of a photo, added up by photo."""

import numpy as np

from imgret.errors import ImgretError
from imgret.rerankers.base import Listed

DIGIT, DIGITS = 8, 4  # bits of a score that are sorted at once, and how often: more at once would be in too many places of the memory


def joined(lists, size, most):
    """One list of the photos of several: a photo's score is the sum of what each of them gives.

    Parameters
    ----------
    lists : list of (ndarray of shape (k_i,), int64; ndarray of shape (k_i,), float32; float)
        Photos, each once; what the list gives each, finite; and what it gives those that it does not have.
    size : int
        Photos in the gallery.
    most : int
        How many are kept.

    Returns
    -------
    imgret.rerankers.base.Listed
        Equal scores by the order of the first list, then by that of the second, and so on.

    Raises
    ------
    ImgretError
        If a list has a photo that is not in the gallery.
    """
    from imgret.rerankers import loops  # compiled: it waits until something is joined

    total = np.full(size, sum(missing for _, _, missing in lists), np.float32)
    lists = [(np.ascontiguousarray(ids), values, missing) for ids, values, missing in lists]  # one type: one compilation
    for ids, values, missing in lists:
        outside = loops.add(total, ids, values, np.float32(missing))
        if outside != -1:
            raise ImgretError(f"a ranking has a photo at {outside}, the gallery has {size}: rank its photos again")
    return Listed(*_best(total.view(np.uint32), _union([ids for ids, _, _ in lists], size), most))


def _union(lists, size):
    """Photos of all lists, each once: those of the first in their order, then those that the second has besides, and so on."""
    if len(lists[0]) == size:
        return lists[0]
    seen, parts = np.zeros(size, bool), []
    for ids in lists:
        parts.append(ids[~seen[ids]])
        seen[ids] = True
    return np.concatenate(parts)


def _best(bits, photos, most):
    """Photos, in falling order of the scores that all have as integers, equal ones as they come, and their scores: a radix sort."""
    from imgret.rerankers import loops

    keys, other = np.empty((2, len(photos)), np.uint64)
    counts = np.zeros((DIGITS, 1 << DIGIT), np.int64)
    loops.pack(bits, photos, keys)
    loops.count(keys, counts)
    for digit, count in enumerate(counts):
        if count.max() < len(keys):  # else they have it in common
            loops.place(keys, np.uint64(32 + DIGIT * digit), np.cumsum(count) - count, other)
            keys, other = other, keys
    ids, scores = np.empty(min(most, len(keys)), np.int64), np.empty(min(most, len(keys)), np.float32)
    loops.unpack(keys[:most], ids, scores.view(np.uint32))
    return ids, scores
