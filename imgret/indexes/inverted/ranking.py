"""The compiled loops that make ranks of a query's scores."""

import numpy as np

from imgret.indexes.inverted.packing import compiled


@compiled
def divided(scores, norms, factor):
    """Scores times `factor`, by each photo's norm, in place; 0 where that is 0."""
    for photo in range(len(scores)):
        norm = norms[photo]
        score = scores[photo] * factor / norm if norm > 0 else np.float32(0)
        scores[photo] = score + np.float32(0) if score == score else np.float32(-np.inf)  # −0 becomes 0


@compiled
def best(bits, kept):
    """The smallest keys (`imgret.indexes.keys`) of scores, as a heap.

    Parameters
    ----------
    bits : ndarray, shape (N,), uint32
        The scores, float32, as integers; none of them −0 or NaN.
    kept : ndarray, shape (k,), uint64
        Of the largest integer each; changed.
    """
    sign = np.uint32(0x80000000)
    for row in range(len(bits)):
        score = bits[row]
        descending = score if score & sign else np.uint32(~(score | sign))
        key = (np.uint64(descending) << np.uint64(32)) | np.uint64(row)
        if key >= kept[0]:
            continue
        place = 0
        while True:
            child = 2 * place + 1
            if child >= len(kept):
                break
            if child + 1 < len(kept) and kept[child + 1] > kept[child]:
                child += 1
            if kept[child] <= key:
                break
            kept[place] = kept[child]
            place = child
        kept[place] = key
