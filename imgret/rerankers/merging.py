"""The compiled loops that find the words that two photos share, both sorted by word."""

import numpy as np

from imgret.compiled import compiled
from imgret.memory import popcount

BURST = 4  # entries of a photo: a word that it has more often tells no place of it from another


@compiled
def run(words, start):
    """Where the entries of the word at `start` end."""
    end = start + 1
    while end < len(words) and words[end] == words[start]:
        end += 1
    return end


@compiled
def following(ours, theirs, one, other):
    """The next word that both have, from entries `one` and `other` on: first and last + 1 entry of it in each; n, n, m, m at the end."""
    while one < len(ours) and other < len(theirs):
        if ours[one] < theirs[other]:
            one += 1
        elif ours[one] > theirs[other]:
            other += 1
        else:
            return one, run(ours, one), other, run(theirs, other)
    return len(ours), len(ours), len(theirs), len(theirs)


@compiled
def closest(bits, one, others, start, end):
    """Of the signatures from `start` to `end`, the nearest to one, the first of equals, and its distance."""
    least, where = np.int64(1 << 30), start
    for other in range(start, end):
        differ = np.int64(0)
        for part in range(bits.shape[1]):
            differ += popcount(bits[one, part] ^ others[other, part])
        if differ < least:
            least, where = differ, other
    return where, least


@compiled
def nearest(ours, theirs, our_bits, their_bits, most, pairs):
    """Pairs of entries of one word whose signatures are each other's nearest of that word, and differ in at most so many bits.

    Parameters
    ----------
    ours, theirs : ndarray, shape (n,) and (m,), int64
        Words, ascending.
    our_bits, their_bits : ndarray, shape (n, W) and (m, W), uint64
    most : int
    pairs : ndarray, shape (min(n, m), 2), int64
        Written.

    Returns
    -------
    int
        How many there are.
    """
    count = 0
    one, end, other, last = following(ours, theirs, 0, 0)
    while one < len(ours):
        for row in range(one, end):
            found, differ = closest(our_bits, row, their_bits, other, last)
            if differ <= most and closest(their_bits, found, our_bits, one, end)[0] == row:
                pairs[count, 0], pairs[count, 1] = row, found
                count += 1
        one, end, other, last = following(ours, theirs, end, last)
    return count


@compiled
def all_of(ours, theirs, pairs):
    """All pairs of entries of one word that either photo has at most `BURST` times; see `nearest`. `pairs`: (BURST · min(n, m), 2)."""
    count = 0
    one, end, other, last = following(ours, theirs, 0, 0)
    while one < len(ours):
        if end - one <= BURST and last - other <= BURST:
            for row in range(one, end):
                for found in range(other, last):
                    pairs[count, 0], pairs[count, 1] = row, found
                    count += 1
        one, end, other, last = following(ours, theirs, end, last)
    return count
