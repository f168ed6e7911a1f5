"""The compiled loops of Hamming embedding: votes of matches, bursts, and weak geometric consistency."""

import math
import typing

import numpy as np

from imgret.indexes.inverted.kernels import distance, ends_of, weight
from imgret.indexes.inverted.memory import item, read_u8
from imgret.indexes.inverted.packing import DAMAGED, SOUND, compiled, gap

ALL, AVERAGE, ROOT = range(3)  # what a burst counts
TURNS, OCTAVES = 16, 16  # bins of differences: 22.5 degrees each, half an octave each; no difference is in the middle of one


class Votes(typing.NamedTuple):
    """How matches vote."""

    table: np.ndarray  # (bits + 1,), float32: by the distance; 0 beyond the threshold
    burst: int
    inter: bool
    geometry: np.ndarray  # (n, 2), uint8, of what is asked; (0, 2) where it does not count


class Memory(typing.NamedTuple):
    """What is noted of each photo while one descriptor asks; zero between two."""

    noted: np.ndarray  # (N, 2), float32: what a burst is divided by; what it counts
    touched: np.ndarray  # (N,), int32


@compiled
def votes(columns, asked, groups, how, memory, scores, histograms):
    """Add up each photo's votes.

    Parameters
    ----------
    columns, asked : see `imgret.indexes.inverted.kernels`
    groups : ndarray, shape (G + 1,), int64
        The lists that each descriptor asks: from one number to the next.
    how : Votes
    memory : Memory
    scores : ndarray, shape (N,), float32
        Changed, where geometry does not count.
    histograms : ndarray, shape (N, TURNS + OCTAVES), float32
        Changed, where it does; (0, TURNS + OCTAVES) elsewhere.

    Returns
    -------
    int
        `SOUND` or `DAMAGED`.
    """
    for group in range(len(groups) - 1):
        count = 0
        for number in range(groups[group], groups[group + 1]):
            count = _look(columns, asked, number, how, memory, count)
            if count < 0:
                return DAMAGED
        _settle(how, memory, count, scores)
        if len(how.geometry):
            for number in range(groups[group], groups[group + 1]):
                _place(columns, asked, number, how, memory, histograms)
        for place in range(count):
            photo = memory.touched[place]
            memory.noted[photo, 0] = memory.noted[photo, 1] = 0
    return SOUND


@compiled
def _look(columns, asked, number, how, memory, count):
    """Note the matches in one list; how many photos have been touched so far, −1 where the list is damaged."""
    at, stop, photo, photos = asked.at[number], asked.stop[number], np.int64(0), len(memory.touched)
    first8, last8 = ends_of(columns, asked.signatures, number)
    noted, factor = memory.noted, asked.factor[number]
    for entry in range(asked.start[number], asked.end[number]):
        step, at = gap(columns.photos, at, stop)
        photo += step
        if step < 0 or photo >= photos:
            return -1
        near = item(how.table, distance(columns, entry, asked.signatures, number, first8, last8))
        if near > 0:
            vote = near * factor * weight(columns, entry)
            if vote > 0:
                if noted[photo, 0] == 0:
                    memory.touched[count] = photo
                    count += 1
                if how.burst == ROOT:
                    noted[photo, 0] += vote
                    noted[photo, 1] += vote * np.float32(math.sqrt(vote))
                else:
                    noted[photo, 0] += 1
                    noted[photo, 1] += vote
    return count if at == stop else -1


@compiled
def _settle(how, memory, count, scores):
    """Give the votes of one descriptor, and leave in `noted` by what each match is to be multiplied."""
    noted, total = memory.noted, 0.0
    for place in range(count):
        photo = memory.touched[place]
        if how.burst == AVERAGE:
            noted[photo, 0] = 1 / noted[photo, 0]
        elif how.burst == ROOT:
            noted[photo, 0] = 1 / np.float32(math.sqrt(noted[photo, 0]))
        else:
            noted[photo, 0] = 1
        total += noted[photo, 0] * noted[photo, 1]
    for place in range(count):
        photo = memory.touched[place]
        if how.inter and total > 0:
            noted[photo, 0] *= np.float32(math.sqrt(noted[photo, 0] * noted[photo, 1] / total))
        if not len(how.geometry):
            scores[photo] += noted[photo, 0] * noted[photo, 1]


@compiled
def _place(columns, asked, number, how, memory, histograms):
    """Put the matches of one list, which has been looked at, where their differences of angle and of scale are."""
    at, stop, photo = asked.at[number], asked.stop[number], np.int64(0)
    first8, last8 = ends_of(columns, asked.signatures, number)
    angle, octave = np.int64(how.geometry[number, 0]), np.int64(how.geometry[number, 1])
    for entry in range(asked.start[number], asked.end[number]):
        step, at = gap(columns.photos, at, stop)
        photo += step
        near = item(how.table, distance(columns, entry, asked.signatures, number, first8, last8))
        if near > 0:
            vote = near * asked.factor[number] * weight(columns, entry)
            if vote > 0:
                if how.burst == ROOT:
                    vote *= np.float32(math.sqrt(vote))
                vote *= memory.noted[photo, 0]
                turned = (angle - np.int64(read_u8(columns.geometry, 2 * entry)) + 128 // TURNS) & 255
                larger = (octave - np.int64(read_u8(columns.geometry, 2 * entry + 1)) + 4) >> 3
                histograms[photo, turned * TURNS // 256] += vote
                histograms[photo, TURNS + min(max(larger + OCTAVES // 2, 0), OCTAVES - 1)] += vote


@compiled
def consistent(histograms, scores):
    """The votes that agree: the smaller one of the largest sums of three neighbouring angles, and of three scales."""
    for photo in range(len(histograms)):
        bins = histograms[photo]
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
        scores[photo] = min(angle, scale)
