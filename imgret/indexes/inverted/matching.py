"""The compiled loops of Hamming embedding: votes of matches, bursts, and weak geometric consistency.

A stretch of photos at a time: what matches is taken out of the lists, without a branch, which would be guessed wrongly about as often as
there are matches; then sorted by photo; then each photo's matches are counted together, in the order of the query's entries.
"""

import math
import typing

import numpy as np

from imgret.indexes.inverted.kernels import NO_MORE, begin, distance, ended, ends_of, weight
from imgret.indexes.inverted.packing import DAMAGED, EIGHT, ONE, SOUND, compiled, gap, inlined, short, step_of
from imgret.memory import fetch, put, read_u8, read_u64

ALL, QUERY, BOTH, ROOT = range(4)  # what a burst counts
TURNS, OCTAVES = 16, 16  # bins of differences: 22.5 degrees each, half an octave each; no difference is in the middle of one
STRETCH, LEAST_STRETCH = 1 << 16, 64  # photos whose matches are held at once, at most and at least
HELD = 1 << 24  # matches, about, that the photos of a stretch may have: twice 128 MB
ROOM = 1 << 12  # matches that there is room for before a list is looked at
# a match in 64 bits: the photo, less the first of its stretch; the distance; the query's entry; how many of those match the gallery's entry
PHOTO, BITS, NUMBER, COUNT = 0, 18, 30, 54
MOST_BITS, MOST_ENTRIES, MOST_COUNT = (1 << NUMBER - BITS) - 1, 1 << COUNT - NUMBER, (1 << 64 - COUNT) - 1


class Votes(typing.NamedTuple):
    """What is asked, and how matches vote. `entries` is a tuple of a length: what it is compiled for."""

    first: np.ndarray  # (G + 1,), int64: the entries of the query that each list is asked by
    signatures: np.ndarray  # of each entry, as bytes
    factor: np.ndarray  # (n,), float32, of each entry
    descriptor: np.ndarray  # (n,), int64: which descriptor each entry is of, below D
    geometry: np.ndarray  # (n, 2), uint8, of `wgc`
    table: np.ndarray  # (bits + 1,), float32: what a match counts by its distance
    threshold: int
    burst: int
    inter: bool
    loose: float  # of `wgc`: the share of votes that count wherever they are
    wgc: bool
    stretch: int  # photos whose matches are held at once: nothing depends on it but memory
    entries: tuple  # of one item where something is looked up of the gallery's entries: these, or weights


class Found(typing.NamedTuple):
    """Room for matches."""

    matches: np.ndarray  # uint64
    entries: np.ndarray  # int64: of the gallery; empty where nothing is looked up of them


class Noted(typing.NamedTuple):
    """What is noted of each descriptor."""

    matches: np.ndarray  # (D,), float32: in the photo that is counted; 0 between two, as `votes`
    votes: np.ndarray
    total: np.ndarray  # (D,), float64: votes in all photos


@compiled
def votes(columns, asked, how, noted, scores):
    """Add up each photo's votes.

    Parameters
    ----------
    columns, asked : see `imgret.indexes.inverted.kernels`
        Each list once.
    how : Votes
    noted : Noted
        Zero; changed.
    scores : ndarray, shape (N,), float32
        Changed.

    Returns
    -------
    int
        `SOUND` or `DAMAGED`.
    """
    found, other = _room(4 * ROOM, how), _room(0, how)
    ends = np.empty(how.stretch + 1, np.int64)
    for turn in range(2 if how.inter else 1):
        sound, state = begin(columns, asked)
        if sound != SOUND:
            return DAMAGED
        for base in range(0, len(scores), how.stretch):
            stretch, count = (base, min(base + how.stretch, len(scores))), np.int64(0)
            for number in range(len(state)):
                while state[number, 0] < stretch[1]:
                    if count + ROOM + how.first[number + 1] - how.first[number] > len(found.matches):
                        found = Found(_larger(found.matches), _larger(found.entries))
                    count = _take(columns, asked, number, how, state, stretch, found, count)
                    if count < 0:
                        return DAMAGED
            if len(other.matches) < count:
                other = _room(len(found.matches), how)
            _sort(found, count, ends, other)
            _count(columns, other, count, base, how, noted, turn, scores)
        if ended(asked, state) != SOUND:
            return DAMAGED
    return SOUND


@compiled
def _room(count, how):
    return Found(np.empty(count, np.uint64), np.empty(count * len(how.entries), np.int64))


@compiled
def _larger(array):
    larger = np.empty(2 * len(array), array.dtype)
    for place in range(len(array)):
        larger[place] = array[place]
    return larger


@inlined
def _take(columns, asked, number, how, state, stretch, found, count):
    """Append the matches of one list, of a stretch of photos, while there is room; their number then, −1 where it is damaged."""
    base, last, matches, entries = stretch[0], stretch[1], found.matches, found.entries
    photo, at, entry = state[number, 0], state[number, 1], state[number, 2]
    end, stop, threshold = asked.end[number], asked.stop[number], how.threshold
    first, beyond = how.first[number], how.first[number + 1]
    most, alone = len(matches) - (beyond - first), beyond - first == 1
    mine = (np.uint64(first) << np.uint64(NUMBER)) | (np.uint64(1) << np.uint64(COUNT))
    ends = ends_of(columns, how.signatures, first)
    while photo < last and count <= most:
        if alone and entry + EIGHT < end and at + EIGHT <= stop and photo + EIGHT * ONE <= last and count + EIGHT <= most:
            steps = read_u64(columns.photos, at)
            if short(steps):
                fetch(columns.signatures, columns.size * entry + 1024)
                match = mine + np.uint64(photo - base)
                for ahead in range(EIGHT):
                    bits = distance(columns, entry + ahead, how.signatures, first, ends)
                    put(matches, count, match + (np.uint64(bits) << np.uint64(BITS)))
                    if len(how.entries):
                        put(entries, count, entry + ahead)
                    count += np.int64(bits <= threshold)
                    match += np.uint64(step_of(steps, ahead))
                photo = base + np.int64(match - mine)
                entry, at = entry + EIGHT, at + EIGHT
                continue
        before = count
        for asking in range(first, beyond):
            bits = distance(columns, entry, how.signatures, asking, ends if alone else ends_of(columns, how.signatures, asking))
            match = np.uint64(photo - base) | (np.uint64(bits) << np.uint64(BITS)) | (np.uint64(asking) << np.uint64(NUMBER))
            put(matches, count, match)
            if len(how.entries):
                put(entries, count, entry)
            count += np.int64(bits <= threshold)
        together = np.uint64(min(count - before, MOST_COUNT)) << np.uint64(COUNT)
        for match in range(before, count):
            matches[match] |= together
        entry += 1
        if entry >= end:
            photo = np.int64(NO_MORE)
            break
        step, at = gap(columns.photos, at, stop)
        if step < 0:
            return -1
        photo += step
    state[number, 0], state[number, 1], state[number, 2] = photo, at, entry
    return count


@inlined
def _photo(match):
    return np.int64(match & np.uint64((1 << BITS) - 1))


@inlined
def _sort(found, count, ends, other):
    """Put matches, and their entries, into `other` by photo, those of one in their own order."""
    matches, entries = found.matches, found.entries
    for photo in range(len(ends)):
        ends[photo] = 0
    for place in range(count):
        ends[_photo(matches[place]) + 1] += 1
    for photo in range(1, len(ends)):
        ends[photo] += ends[photo - 1]
    for place in range(count):
        photo = _photo(matches[place])
        put(other.matches, ends[photo], matches[place])
        if len(entries):
            put(other.entries, ends[photo], entries[place])
        ends[photo] += 1


@inlined
def _count(columns, found, count, base, how, noted, turn, scores):
    """Count the votes of photo after photo."""
    matches, entries = found.matches, found.entries
    bins = np.zeros(TURNS + OCTAVES, np.float32)
    start = np.int64(0)  # a literal would be compiled for once more
    while start < count:
        photo, end = _photo(matches[start]), start
        while end < count and _photo(matches[end]) == photo:
            if how.burst:
                number = _number(matches[end])
                vote = _vote(columns, matches, entries, end, number, how) if how.burst == ROOT else np.float32(1)
                noted.matches[how.descriptor[number]] += vote
            end += 1
        total = np.float32(0)
        for place in range(start, end):
            number = _number(matches[place])
            vote = _vote(columns, matches, entries, place, number, how)
            vote *= _share(matches[place], vote, noted.matches[how.descriptor[number]], how)
            if not how.inter:
                total += vote
                if len(how.entries) and how.wgc:
                    _place(columns, entries[place], number, vote, how, bins)
            elif turn:
                noted.votes[how.descriptor[number]] += vote
            else:
                noted.total[how.descriptor[number]] += vote
        if turn:
            total = _everywhere(columns, matches, entries, start, end, how, noted, bins)
        for place in range(start, end):
            x = how.descriptor[_number(matches[place])]
            noted.matches[x] = noted.votes[x] = 0
        if how.wgc:
            total = np.float32(how.loose) * total + np.float32(1 - how.loose) * consistent(bins)
            for place in range(len(bins)):
                bins[place] = 0
        scores[base + photo] = total
        start = end


@inlined
def _everywhere(columns, matches, entries, start, end, how, noted, bins):
    """The votes of a photo, those of a descriptor less the more it has in all photos."""
    total = np.float32(0)
    for place in range(start, end):
        number = _number(matches[place])
        x = how.descriptor[number]
        vote = _vote(columns, matches, entries, place, number, how)
        vote *= _share(matches[place], vote, noted.matches[x], how)
        if vote > 0:
            vote *= np.float32(math.sqrt(noted.votes[x] / noted.total[x]))
        total += vote
        if len(how.entries) and how.wgc:
            _place(columns, entries[place], number, vote, how, bins)
    return total


@inlined
def _number(match):
    return np.int64((match >> np.uint64(NUMBER)) & np.uint64(MOST_ENTRIES - 1))


@inlined
def _vote(columns, matches, entries, place, number, how):
    """What a match counts before bursts."""
    bits = np.int64((matches[place] >> np.uint64(BITS)) & np.uint64(MOST_BITS))
    vote = how.table[bits] * how.factor[number]
    return vote * weight(columns, entries[place]) if len(columns.weighted) else vote


@inlined
def _share(match, vote, matches, how):
    """By what a match is multiplied for being one of several."""
    if how.burst == QUERY:
        return 1 / matches
    if how.burst == BOTH:
        return 1 / (matches * np.float32(match >> np.uint64(COUNT)))
    if how.burst == ROOT and vote > 0:
        return np.float32(math.sqrt(vote / matches))
    return np.float32(1)


@inlined
def _place(columns, entry, number, vote, how, bins):
    """Put a vote where the differences of angle and of scale are."""
    turned = np.int64(how.geometry[number, 0]) - np.int64(read_u8(columns.geometry, 2 * entry)) + 128 // TURNS
    larger = np.int64(how.geometry[number, 1]) - np.int64(read_u8(columns.geometry, 2 * entry + 1)) + 4
    bins[(turned & 255) * TURNS // 256] += vote
    bins[TURNS + min(max((larger >> 3) + OCTAVES // 2, 0), OCTAVES - 1)] += vote


@compiled
def consistent(bins):
    """The votes that agree: the smaller one of the largest sums of three neighbouring angles, and of three scales."""
    angle, scale = np.float32(0), np.float32(0)
    for turn in range(TURNS):
        angle = max(angle, bins[turn - 1 if turn else TURNS - 1] + bins[turn] + bins[(turn + 1) % TURNS])
    for octave in range(OCTAVES):
        around = bins[TURNS + octave]
        if octave:
            around += bins[TURNS + octave - 1]
        if octave + 1 < OCTAVES:
            around += bins[TURNS + octave + 1]
        scale = max(scale, around)
    return min(angle, scale)
