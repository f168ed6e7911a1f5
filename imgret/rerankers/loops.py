"""The compiled loops of `joining`. A key is a score, turned so that larger ones come first, above the photo's number."""

import numpy as np

from imgret.compiled import compiled


@compiled
def add(total, ids, values, less):
    """Values, `less` something, added to `total` at `ids`, in place; the first of them that is outside it, or -1 where none is."""
    for place in range(len(ids)):
        photo = ids[place]
        if photo < 0 or photo >= len(total):
            return photo
        total[photo] += values[place] - less
    return -1


@compiled
def pack(bits, ids, keys):
    """Keys of some photos.

    Parameters
    ----------
    bits : ndarray, shape (N,), uint32
        Scores of all photos, finite float32, as integers.
    ids : ndarray, shape (k,), int64
    keys : ndarray, shape (k,), uint64
        Filled.
    """
    sign = np.uint32(1 << 31)
    for place in range(len(ids)):
        score = bits[ids[place]]
        if score == sign:
            score = np.uint32(0)  # −0 becomes 0
        descending = score if score & sign else np.uint32(~(score | sign))
        keys[place] = (np.uint64(descending) << np.uint64(32)) | np.uint64(ids[place])


@compiled
def count(keys, counts):
    """How many keys have each value of the 8 bits of their scores, the lowest first: (4, 256), int64; added up.

    It is a loop of its own: in that of `pack` it takes ten times as long.
    """
    for number in range(len(keys)):
        descending = keys[number] >> np.uint64(32)
        for digit in range(4):
            counts[digit, (descending >> np.uint64(8 * digit)) & np.uint64(255)] += 1


@compiled
def place(keys, shift, starts, out):
    """Keys sorted by 8 of their bits, equal ones in their order.

    Parameters
    ----------
    keys : ndarray, shape (k,), uint64
    shift : uint64
        The lowest of the bits.
    starts : ndarray, shape (256,), int64
        Where the keys of each digit go; changed.
    out : ndarray, shape (k,), uint64
        Filled.
    """
    for number in range(len(keys)):
        digit = (keys[number] >> shift) & np.uint64(255)
        out[starts[digit]] = keys[number]
        starts[digit] += 1


@compiled
def unpack(keys, ids, bits):
    """The photos of keys, and their scores as integers: both (k,), filled."""
    sign = np.uint32(1 << 31)
    for place in range(len(keys)):
        descending = np.uint32(keys[place] >> np.uint64(32))
        bits[place] = descending if descending & sign else np.uint32(~(descending | sign))
        ids[place] = np.int64(keys[place] & np.uint64(0xFFFFFFFF))
