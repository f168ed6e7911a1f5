"""The compiled loops of k-reciprocal encoding: each photo as what its neighbours are, and how much two of these share.

Places in the arrays come from `neighbours`, which has checked them. An encoding is sparse: photos, and a weight for each; all weights add
up to 1.
"""

import numpy as np

from imgret.compiled import compiled


@compiled
def among(ids, photo, k, wanted):
    """Where a photo has another among its `k` nearest; -1 where it has not."""
    for place in range(k):
        if ids[photo, place] == wanted:
            return place
    return -1


@compiled
def held(columns, count, photo):
    """Whether a photo is among the first of some."""
    for place in range(count):
        if columns[place] == photo:
            return True
    return False


@compiled
def strength(ids, weights, me, near, strengths, photo):
    """What weight a photo has for another: as the one, else the other, has it in its list; else the last one's of the list."""
    last = np.float32(0)
    for place in range(len(near)):
        if near[place] == photo:
            return strengths[place]
        if near[place] >= 0:
            last = strengths[place]
    back = among(ids, photo, ids.shape[1], me) if me >= 0 else -1
    return weights[photo, back] if back >= 0 else last


@compiled
def gather(ids, weights, me, near, strengths, agreed, half, columns, values):
    """The photos that describe one, and their weights, not yet divided by their sum; how many they are.

    Parameters
    ----------
    ids : ndarray, shape (N, k), int32
    weights : ndarray, shape (N, k), float32
    me : int
        The photo; -1 where it is none of the gallery.
    near : ndarray, shape (k,), int32
    strengths : ndarray, shape (k,), float32
        Its neighbours, and what they weigh.
    agreed : ndarray, shape (k1,), bool
        Which of the first have it among their k1 nearest.
    half : int
        For each that has, its own reciprocal neighbours among its `half` nearest are added where more than two thirds of them are there.
    columns : ndarray, int32
    values : ndarray, float32
        Written; long enough for all: 1 + k1 (half + 1).
    """
    columns[0], values[0], count = me, np.float32(1), 1
    for place in range(len(agreed)):
        if agreed[place]:
            columns[count], values[count] = near[place], strengths[place]
            count += 1
    first = count
    for place in range(1, first):
        other, size, common = columns[place], 1, 1
        for step in range(half):
            photo = ids[other, step]
            if photo < 0:
                break
            if among(ids, photo, half, other) >= 0:
                size += 1
                common += held(columns, first, photo)
        if 3 * common <= 2 * size:
            continue
        for step in range(half):
            photo = ids[other, step]
            if photo < 0:
                break
            if among(ids, photo, half, other) >= 0 and not held(columns, count, photo):
                columns[count], values[count] = photo, strength(ids, weights, me, near, strengths, photo)
                count += 1
    return count


@compiled
def encode(ids, weights, k, half, start, columns, values, counts):
    """`gather` for some photos of the gallery: of neighbours that have each other, the smaller weight of the two.

    Parameters
    ----------
    ids, weights, half : see `gather`
    k : int
        k1, at most the width of `ids`.
    start : int
        The first photo.
    columns, values : ndarray, shape (n, c)
    counts : ndarray, shape (n,), int64
        Written.
    """
    agreed, strengths = np.zeros(k, np.bool_), np.zeros(ids.shape[1], np.float32)
    for row in range(len(counts)):
        me = start + row
        strengths[:] = weights[me]
        for place in range(k):
            other = ids[me, place]
            back = among(ids, other, k, me) if other >= 0 else -1
            agreed[place] = back >= 0
            if back >= 0:
                strengths[place] = min(strengths[place], weights[other, back])
        counts[row] = gather(ids, weights, me, ids[me], strengths, agreed, half, columns[row], values[row])


@compiled
def average(starts, columns, values, ids, k, start, dense, into, shares, counts):
    """The mean of each photo's encoding and those of its k − 1 nearest, for some photos.

    Parameters
    ----------
    starts, columns, values : ndarray
        Encodings, row after row.
    ids : see `gather`
    k : int
        k2; at most one more than the width of `ids`.
    start : int
    dense : ndarray, shape (N,), float32
        Zeros, before and after.
    into, shares, counts : as `columns`, `values` and `counts` of `encode`
    """
    for row in range(len(counts)):
        me, count, several = start + row, 0, 0
        for which in range(k):
            photo = me if which == 0 else ids[me, which - 1]
            if photo < 0:
                break
            several += 1
            for place in range(starts[photo], starts[photo + 1]):
                column = columns[place]
                if dense[column] == 0 and values[place] > 0:
                    into[row, count] = column
                    count += 1
                dense[column] += values[place]
        for place in range(count):
            shares[row, place] = dense[into[row, place]] / several
            dense[into[row, place]] = 0
        counts[row] = count


@compiled
def with_others(starts, columns, values, photos, mine, own, dense, into, shares):
    """The mean of a query's encoding and those of some photos; how many photos it has.

    Parameters
    ----------
    starts, columns, values : see `average`
    photos : ndarray, shape (m,), int32
    mine : ndarray, shape (n,), int32
    own : ndarray, shape (n,), float32
        The query's: photos, -1 being itself, and weights.
    dense : see `average`
    into : ndarray, int32
    shares : ndarray, float32
        Written.
    """
    count, several = 0, np.float32(1 + len(photos))
    for place in range(len(mine)):
        into[count], shares[count] = mine[place], own[place] / several
        count += 1
        if mine[place] >= 0:
            dense[mine[place]] = count  # where it is, and one
    for photo in photos:
        for place in range(starts[photo], starts[photo + 1]):
            column = columns[place]
            if dense[column] == 0:
                into[count], shares[count] = column, np.float32(0)
                count += 1
                dense[column] = count
            shares[np.int64(dense[column]) - 1] += values[place] / several
    for place in range(count):
        if into[place] >= 0:
            dense[into[place]] = 0
    return count


@compiled
def turned(starts, columns, values, into, photos, weights):
    """Encodings by what they hold: for each column the photos that have it, and its weights there.

    Parameters
    ----------
    starts, columns, values : see `average`
    into : ndarray, shape (N + 1,), int64
        Zeros; written: where each column begins in the others.
    photos : ndarray, shape (E,), int32
    weights : ndarray, shape (E,), float32
        Written.
    """
    for place in range(len(columns)):
        into[columns[place] + 1] += 1
    for column in range(len(into) - 1):
        into[column + 1] += into[column]
    filled = into[:-1].copy()
    for photo in range(len(starts) - 1):
        for place in range(starts[photo], starts[photo + 1]):
            at = filled[columns[place]]
            photos[at], weights[at] = photo, values[place]
            filled[columns[place]] = at + 1


@compiled
def shared(into, photos, weights, columns, values, common):
    """Add to `common`, (N,), of a query's encoding and each photo's the sum of the smaller weights; see `turned`."""
    for row in range(len(columns)):
        if columns[row] >= 0:
            for place in range(into[columns[row]], into[columns[row] + 1]):
                common[photos[place]] += min(values[row], weights[place])


@compiled
def scaled(starts, columns, values, photo, share, mine):
    """The same for one photo whose weights are `share` of what they are; `mine` (N,) are the query's."""
    total = np.float32(0)
    for place in range(starts[photo], starts[photo + 1]):
        total += min(mine[columns[place]], values[place] * share)
    return total
