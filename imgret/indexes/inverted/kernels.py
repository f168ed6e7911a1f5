"""The compiled loops over lists that are shared: scores of a query, and how similar each photo is to itself.

Every number that comes from a list is checked where it is read: a photo's against the photos that are there, a place among the bytes
against where the list ends. Where lists begin and end is checked by whoever calls.

A query goes through its lists a stretch of photos at a time, so that the scores it adds to stay in a processor's own cache: with a
million photos, adding to them list by list takes three times as long as the popcounts. The sums of a photo are made in one order, that of
the query's entries, whatever the stretch.
"""

import math
import typing

import numpy as np

from imgret.indexes.inverted.packing import DAMAGED, EIGHT, ONE, SOUND, compiled, gap, inlined, short, step_of
from imgret.memory import add, dot_half, fetch, item, popcount, read_f16, read_f32, read_u8, read_u16, read_u64

STRETCH = 1 << 16  # photos: 256 KB of scores
AHEAD = 2048  # bytes
NO_MORE = 1 << 40  # where a photo number would be in a list that has ended

PLAIN, ROOT, BINARY, SATURATED = range(4)  # what becomes of a frequency
BITS, FLOATS, WEIGHTS, PLANES = range(4)  # what is looked at of an entry, and of what asks
MAGNITUDES = 4  # planes of bits that the magnitudes of an asked number are in


class Columns(typing.NamedTuple):
    """The entries of all lists, as bytes. `width` and `weighted` are tuples of a length: what they are compiled for."""

    photos: np.ndarray
    signatures: np.ndarray
    weights: np.ndarray
    geometry: np.ndarray
    size: int  # bytes of a signature
    each: int  # bytes of a weight: uint8, uint16 or float32
    width: tuple  # of signatures of 8 or 16 bytes, one item for each 8; else empty
    weighted: tuple  # of one item where there are weights


class Asked(typing.NamedTuple):
    """Some lists, each with what it is asked: one for each entry of a query."""

    start: np.ndarray  # entries: first, last + 1
    end: np.ndarray
    at: np.ndarray  # bytes of their photo numbers: first, last + 1
    stop: np.ndarray
    signatures: np.ndarray  # bytes, or float32, one after another; of `PLANES` the signs of each and then its planes
    factor: np.ndarray  # float32: what all that is found in the list is multiplied by
    line: np.ndarray  # (n, 2), float32, of `PLANES`: the similarity where nothing disagrees, and how it falls with what does


class How(typing.NamedTuple):
    """What an entry is worth. `takes` is a tuple of the length `BITS`, `FLOATS`, `WEIGHTS` or `PLANES`: what it is compiled for."""

    takes: tuple
    table: np.ndarray  # (bits + 1,), float32: by the distance of two signatures; empty but for `BITS`
    alpha: np.float32
    tau: np.float32
    inter: bool  # whether what an entry is worth is multiplied by its root
    form: int
    k1: np.float32
    softness: np.ndarray  # (N,), float32, of `SATURATED`; of one item elsewhere


NONE = np.zeros(1, np.float32)


def how(takes, *, table=NONE[:0], alpha=3.0, tau=0.0, inter=False, form=PLAIN, k1=0.0, softness=NONE):
    """A `How`, in the types that the loops are compiled for."""
    return How(
        (0,) * takes, np.asarray(table, np.float32), np.float32(alpha), np.float32(tau), bool(inter), int(form), np.float32(k1), softness
    )


@inlined
def weight(columns, entry):
    """The weight of an entry; 1 where there are none."""
    if not len(columns.weighted):
        return np.float32(1)
    if columns.each == 1:
        return np.float32(read_u8(columns.weights, entry))
    if columns.each == 2:
        return np.float32(read_u16(columns.weights, 2 * entry))
    return read_f32(columns.weights, 4 * entry)


@inlined
def distance(columns, entry, asked, number, ends):
    """Bits in which the signature of an entry differs from an asked one, whose `ends_of` are given."""
    if len(columns.width) == 1:
        return popcount(read_u64(columns.signatures, 8 * entry) ^ ends[0])
    if len(columns.width) == 2:
        return popcount(read_u64(columns.signatures, 16 * entry) ^ ends[0]) + popcount(
            read_u64(columns.signatures, 16 * entry + 8) ^ ends[1]
        )
    bits, at, other, whole = np.int64(0), columns.size * entry, columns.size * number, columns.size // 8 * 8
    for byte in range(0, whole, 8):
        bits += popcount(read_u64(columns.signatures, at + byte) ^ read_u64(asked, other + byte))
    for byte in range(whole, columns.size):
        bits += popcount(np.uint64(read_u8(columns.signatures, at + byte) ^ read_u8(asked, other + byte)))
    return bits


@inlined
def ends_of(columns, asked, number):
    """The first and last 8 bytes of an asked signature, for `distance`."""
    if len(columns.width):
        at = columns.size * number
        return read_u64(asked, at), read_u64(asked, at + columns.size - 8)
    return np.uint64(0), np.uint64(0)


@inlined
def disagreement(columns, entry, asked, number):
    """The sum of the magnitudes of those numbers, of `PLANES`, whose sign is not that of an entry's bit."""
    total, at, other = np.int64(0), columns.size * entry, columns.size * (MAGNITUDES + 1) * number
    if len(columns.width):
        for word in range(len(columns.width)):
            differs = read_u64(columns.signatures, at + 8 * word) ^ read_u64(asked, other + 8 * word)
            for plane in range(MAGNITUDES):
                total += popcount(differs & read_u64(asked, other + (plane + 1) * 8 * len(columns.width) + 8 * word)) << plane
    else:
        for byte in range(columns.size):
            differs = np.uint64(read_u8(columns.signatures, at + byte) ^ read_u8(asked, other + byte))
            for plane in range(MAGNITUDES):
                total += popcount(differs & np.uint64(read_u8(asked, other + (plane + 1) * columns.size + byte))) << plane
    return total


@inlined
def product(columns, entry, asked, number):
    """The inner product of the float16 of an entry with asked float32."""
    at, dim = columns.size * entry, columns.size // 2
    even, start = dim // 8 * 8, dim * number
    total = dot_half(columns.signatures, at, asked, start, even)
    for column in range(even, dim):
        total += read_f16(columns.signatures, at + 2 * column) * item(asked, start + column)
    return total


@inlined
def selective(similarity, alpha, tau):
    """σ(u) = sign(u)|u|^α where u > τ, else 0 (Tolias et al. 2013)."""
    if alpha == 3:
        return similarity * similarity * similarity * np.float32(similarity > tau)  # a branch would be guessed wrongly half of the time
    return _power(similarity, alpha, tau)


@compiled
def _power(similarity, alpha, tau):
    if not similarity > tau:
        return np.float32(0)
    return np.float32(math.copysign(abs(similarity) ** alpha, similarity))


@compiled
def begin(columns, asked):
    """The first photo of each list and the place after its gap: (n, 3), int64: photo, byte, entry; `DAMAGED` where that cannot be."""
    state = np.empty((len(asked.start), 3), np.int64)
    for number in range(len(state)):
        photo, at = np.int64(NO_MORE), asked.at[number]
        if asked.start[number] < asked.end[number]:
            photo, at = gap(columns.photos, at, asked.stop[number])
            if photo < 0:
                return DAMAGED, state
        elif at != asked.stop[number]:
            return DAMAGED, state
        state[number, 0], state[number, 1], state[number, 2] = photo, at, asked.start[number]
    return SOUND, state


@compiled
def ended(asked, state):
    """Whether all lists have ended where they should: `SOUND`, else `DAMAGED`."""
    for number in range(len(state)):
        if state[number, 0] != NO_MORE or state[number, 1] != asked.stop[number]:
            return DAMAGED
    return SOUND


@inlined
def frequency(how, tf, photo):
    """What a frequency counts: itself, its root, 1, or tf (k1 + 1) / (tf + softness) as BM25 has it."""
    if how.form == PLAIN:
        return tf
    if how.form == ROOT:
        return np.float32(math.sqrt(tf))
    if how.form == BINARY:
        return np.float32(1)
    if tf == 0:
        return np.float32(0)  # also where k1 is 0
    return tf * (how.k1 + np.float32(1)) / (tf + item(how.softness, photo))


@inlined
def worth(columns, entry, asked, number, ends, line, how, photo):
    """What an entry adds to its photo's score, but for the list's factor."""
    if len(how.takes) == BITS:
        found = item(how.table, distance(columns, entry, asked.signatures, number, ends)) * weight(columns, entry)
    elif len(how.takes) == FLOATS:
        found = selective(product(columns, entry, asked.signatures, number), how.alpha, how.tau) * weight(columns, entry)
    elif len(how.takes) == PLANES:
        similarity = line[0] - line[1] * np.float32(disagreement(columns, entry, asked.signatures, number))
        found = selective(similarity, how.alpha, how.tau) * weight(columns, entry)
    else:
        found = frequency(how, weight(columns, entry), photo)
    return found * np.float32(math.sqrt(abs(found))) if how.inter else found


@compiled
def totals(columns, asked, how, sums):
    """What all entries of each list are worth, all counting as positive, in `sums` (n,), float64: what `inter` divides by."""
    for number in range(len(sums)):
        ends, line = ends_of(columns, asked.signatures, number), line_of(asked, number, how)
        for entry in range(asked.start[number], asked.end[number]):
            sums[number] += abs(worth(columns, entry, asked, number, ends, line, how, 0))


@inlined
def line_of(asked, number, how):
    """Where an asked signature's `line` begins, and how it falls."""
    if len(how.takes) == PLANES:
        return asked.line[number, 0], asked.line[number, 1]
    return np.float32(0), np.float32(0)


@compiled
def scan(columns, asked, how, scores):
    """Add up, for each photo, what all entries of all lists are worth.

    Parameters
    ----------
    columns : Columns
    asked : Asked
    how : How
    scores : ndarray, shape (N,), float32
        Changed.

    Returns
    -------
    int
        `SOUND`, or `DAMAGED` where a list names photos that are not there, or does not end where it should.
    """
    sound, state = begin(columns, asked)
    if sound != SOUND:
        return DAMAGED
    for stretch in range(0, len(scores), STRETCH):
        last = min(stretch + STRETCH, len(scores))
        for number in range(len(state)):
            photo, at, entry = state[number, 0], state[number, 1], state[number, 2]
            if photo >= last:
                continue
            end, stop, factor = asked.end[number], asked.stop[number], asked.factor[number]
            ends, line = ends_of(columns, asked.signatures, number), line_of(asked, number, how)
            while photo < last:
                if entry + EIGHT < end and at + EIGHT <= stop and photo + EIGHT * ONE <= last:
                    steps = read_u64(columns.photos, at)
                    if short(steps):
                        ahead_at = columns.size * entry + AHEAD
                        fetch(columns.signatures, ahead_at)
                        if columns.size > 8:
                            fetch(columns.signatures, ahead_at + 64)
                        for ahead in range(EIGHT):
                            add(scores, photo, factor * worth(columns, entry + ahead, asked, number, ends, line, how, photo))
                            photo += step_of(steps, ahead)
                        entry, at = entry + EIGHT, at + EIGHT
                        continue
                add(scores, photo, factor * worth(columns, entry, asked, number, ends, line, how, photo))
                entry += 1
                if entry >= end:
                    photo = np.int64(NO_MORE)
                    break
                step, at = gap(columns.photos, at, stop)
                if step < 0:
                    return DAMAGED
                photo += step
            state[number, 0], state[number, 1], state[number, 2] = photo, at, entry
    return ended(asked, state)
