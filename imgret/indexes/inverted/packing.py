"""Photo numbers of a list as gaps, in one byte where that holds them: the compiled loops that write and read them.

A gap below 224 is a byte of that value. A first byte from 224 to 254 stands, with one more, for the gaps from 224 to 8159; after 255 come
four bytes, little-endian. The first gap is the number of the first photo. A million photos, of which a word is in one of sixty, take 1.03
bytes each; the plain numbers would take 4.
"""

import numpy as np

from imgret.compiled import compiled
from imgret.memory import read_u8, read_u32

inlined = compiled(forceinline=True)  # a call counts references to every array that it is given

ONE, LONG = 224, 255
TWO = ONE + ((LONG - ONE) << 8)  # from here on a gap takes five
SOUND, DAMAGED = 0, 1


@inlined
def gap(photos, at, end):
    """The gap at byte `at` and where the next one begins; −1 where it does not end before `end`."""
    if at >= end:
        return -1, at
    first = np.int64(read_u8(photos, at))
    if first < ONE:
        return first, at + 1
    if first < LONG:
        if at + 2 > end:
            return -1, at
        return ONE + ((first - ONE) << 8) + np.int64(read_u8(photos, at + 1)), at + 2
    if at + 5 > end:
        return -1, at
    return np.int64(read_u32(photos, at + 1)), at + 5


EIGHT = 8  # gaps of a byte that are looked at together
_HIGH = np.uint64(0x8080808080808080)


@inlined
def short(steps):
    """Whether all eight bytes of a uint64 are gaps, none of them the first byte of a longer one."""
    return steps & (steps << np.uint64(1)) & (steps << np.uint64(2)) & _HIGH == 0


@inlined
def step_of(steps, number):
    """One of eight gaps."""
    return np.int64((steps >> np.uint64(8 * number)) & np.uint64(255))


@compiled
def size(step):
    """Bytes of a gap."""
    return 1 if step < ONE else 2 if step < TWO else 5


@compiled
def count(words, photos, weights, tally, powers):
    """Add entries in the order of photos, and of words in each, to a tally.

    Parameters
    ----------
    words : ndarray, shape (m,), integer
    photos : ndarray, shape (m,), int64
        Ascending, none below those of an earlier call, none in two calls.
    weights : ndarray, shape (m,), float32
    tally : ndarray, shape (K, 4), int64
        Of each word: entries, bytes of their gaps, photos, and the last photo + 1. Words are below K.
    powers : ndarray, shape (K,), float64
        Of each word, the sum of the squares of its frequencies in photos.
    """
    tf = 0.0
    for number in range(len(words)):
        word, photo = words[number], photos[number]
        of = tally[word]
        if of[3] != photo + 1:
            of[2] += 1
            tf = 0.0
        powers[word] += weights[number] * (2 * tf + weights[number])
        tf += weights[number]
        of[0] += 1
        of[1] += size(photo - max(of[3] - 1, 0))
        of[3] = photo + 1


@compiled
def order(words, first, known, places, out):
    """Where entries go that are sorted by their words, equal ones in their own order; whether there are so many of each word as expected.

    Parameters
    ----------
    words : ndarray, shape (m,), uint32
    first : int
        The first of the words expected.
    known : ndarray, shape (W,), int64
        By word, less the first, its number among the words expected; −1 of others.
    places : ndarray, shape (P + 1,), int64
        Where the entries of each begin, and the last end.
    out : ndarray, shape (m,), int64
        Filled: the place of each.
    """
    following = places[:-1].copy()
    for number in range(len(words)):
        word = np.int64(words[number]) - first
        if not 0 <= word < len(known) or known[word] < 0:
            return False
        place = following[known[word]]
        if place >= places[known[word] + 1]:
            return False
        out[number] = place
        following[known[word]] = place + 1
    return len(words) == places[-1]


@compiled
def put_rows(rows, start, width, places, out):
    """Move `width` bytes from `start` on of each row (m, bytes), uint8, to its place in `out` (m, width), uint8."""
    for number in range(len(rows)):
        row, into = rows[number], out[places[number]]
        for byte in range(width):
            into[byte] = row[start + byte]


@compiled
def pack(photos, ends, out):
    """Write lists as gaps.

    Parameters
    ----------
    photos : ndarray, shape (m,), uint32
        List after list, ascending in each.
    ends : ndarray, shape (P,), int64
        Where each list ends.
    out : ndarray, uint8
        As long as they take.
    """
    at, entry = 0, 0
    for end in ends:
        last = np.int64(0)
        while entry < end:
            step = np.int64(photos[entry]) - last
            last += step
            entry += 1
            if step < ONE:
                out[at] = step
                at += 1
            elif step < TWO:
                out[at] = ONE + ((step - ONE) >> 8)
                out[at + 1] = (step - ONE) & 255
                at += 2
            else:
                out[at] = LONG
                for byte in range(4):
                    out[at + 1 + byte] = (step >> (8 * byte)) & 255
                at += 5


@compiled
def unpack(packed, at, end, out):
    """The photo numbers of one list, of `len(out)` entries; `DAMAGED` where its bytes `at` to `end` are not so many."""
    photo = np.int64(0)
    for number in range(len(out)):
        step, at = gap(packed, at, end)
        if step < 0:
            return DAMAGED
        photo += step
        out[number] = photo
    return SOUND if at == end else DAMAGED
