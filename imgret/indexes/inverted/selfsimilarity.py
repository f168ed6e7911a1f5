"""The compiled loops that compare each photo with itself: what norms are made of."""

import numpy as np

from imgret.indexes.inverted.kernels import BITS, distance, ends_of, frequency, product, selective, weight
from imgret.indexes.inverted.packing import DAMAGED, SOUND, compiled, gap
from imgret.memory import read_f16


@compiled
def of_frequencies(columns, asked, how, sums):
    """Add factor² · `frequency`² of each photo in each list to `sums`, (N,), float64: the entries of a photo in a list count together."""
    for number in range(len(asked.start)):
        at, stop, photo = asked.at[number], asked.stop[number], np.int64(-1)
        factor, tf = np.float64(asked.factor[number]), np.float32(0)
        for entry in range(asked.start[number], asked.end[number]):
            step, at = gap(columns.photos, at, stop)
            if step < 0:
                return DAMAGED
            following = max(photo, 0) + step
            if following >= len(sums):
                return DAMAGED
            if following != photo:
                if photo >= 0:
                    sums[photo] += (factor * frequency(how, tf, 0)) ** 2
                photo, tf = following, np.float32(0)
            tf += weight(columns, entry)
        if photo >= 0:
            sums[photo] += (factor * frequency(how, tf, 0)) ** 2
        if at != stop:
            return DAMAGED
    return SOUND


@compiled
def _bits_of_run(columns, first, last, table):
    total = 0.0
    for one in range(first, last):
        mine = np.float64(weight(columns, one))
        total += mine * mine * table[0]
        ends = ends_of(columns, columns.signatures, one)
        for other in range(one + 1, last):
            bits = distance(columns, other, columns.signatures, one, ends)
            total += 2 * mine * weight(columns, other) * table[bits]
    return total


@compiled
def _floats_of_run(columns, first, last, how):
    total, dim = 0.0, columns.size // 2
    mine = np.empty(dim, np.float32)
    for one in range(first, last):
        for column in range(dim):
            mine[column] = read_f16(columns.signatures, 2 * (dim * one + column))
        for other in range(one, last):
            similarity = selective(product(columns, other, mine, 0), how.alpha, how.tau)
            both = np.float64(weight(columns, one)) * weight(columns, other) * similarity
            total += both if other == one else 2 * both
    return total


@compiled
def _of_run(columns, first, last, how):
    if len(how.takes) == BITS:
        return _bits_of_run(columns, first, last, how.table)
    return _floats_of_run(columns, first, last, how)


@compiled
def of_pairs(columns, asked, how, sums):
    """Add factor · σ · both weights, over all pairs of entries of a photo in a list, to `sums`, (N,), float64."""
    for number in range(len(asked.start)):
        at, stop, photo, factor = asked.at[number], asked.stop[number], np.int64(0), np.float64(asked.factor[number])
        first, end = asked.start[number], asked.end[number]
        for entry in range(first, end):
            step, at = gap(columns.photos, at, stop)
            if step < 0 or photo + step >= len(sums):
                return DAMAGED
            if step and entry > first:
                sums[photo] += factor * _of_run(columns, first, entry, how)
                first = entry
            photo += step
        if first < end:
            sums[photo] += factor * _of_run(columns, first, end, how)
        if at != stop:
            return DAMAGED
    return SOUND
