"""Many byte strings in two arrays: how names are kept in memory and in a file."""

import array
import itertools
import operator

import numpy as np

WIDTH = 7  # bytes of each value that are compared at once, when many are sorted
SORTED_AT_ONCE = 1 << 11
BLOCK = 512  # values that are Python's own at once: there may be millions, and as many sequences read in turn as there are stores


class Texts:
    """A sequence of byte strings, packed.

    Parameters
    ----------
    flat : ndarray, shape (B,), uint8
        All values, one after the other.
    offsets : ndarray, shape (n + 1,), int64
        Where each value begins, and where the last one ends.
    """

    def __init__(self, flat, offsets):
        self.flat = flat
        self.offsets = offsets

    @classmethod
    def of(cls, values):
        """Pack an iterable of bytes, which is not held as a whole."""
        if isinstance(values, cls):
            return values
        packing = Packing()
        for value in values:
            packing.append(value)
        return packing.texts()

    def __len__(self):
        return len(self.offsets) - 1

    def __getitem__(self, item):
        if isinstance(item, slice):
            start, stop, step = item.indices(len(self))
            if step != 1:
                raise ValueError("a step other than 1 is not supported")
            offsets = self.offsets[start : max(start, stop) + 1]
            return Texts(self.flat[offsets[0] : offsets[-1]], offsets - offsets[0])
        if item < 0:
            item += len(self)
        if not 0 <= item < len(self):
            raise IndexError(item)
        return self.flat[self.offsets[item] : self.offsets[item + 1]].tobytes()

    def __iter__(self):
        for first in range(0, len(self), BLOCK):
            ends = self.offsets[first : first + BLOCK + 1].tolist()
            data = self.flat[ends[0] : ends[-1]].tobytes()
            for start, end in itertools.pairwise(ends):
                yield data[start - ends[0] : end - ends[0]]

    def __eq__(self, other):
        if isinstance(other, list):
            return len(self) == len(other) and all(map(operator.eq, self, other))
        return isinstance(other, Texts) and np.array_equal(self.offsets, other.offsets) and np.array_equal(self.flat, other.flat)

    __hash__ = None

    def find(self, value):
        """Position of `value` in a sorted sequence, or -1."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self[middle] < value:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self[low] == value else -1

    def order(self):
        """Positions (n,) of the values in byte order; of equal ones the first first.

        They are compared some bytes at a time, and only those that begin alike any further.
        """
        kind = np.int32 if len(self) < 1 << 31 else np.int64
        order, group = np.arange(len(self), dtype=kind), np.zeros(len(self), kind)
        alike, at = order.copy() if len(self.flat) else order[:0], 0
        while len(alike):
            keys = self._keys(order[alike], at)
            first = np.lexsort((keys, group[alike]))
            order[alike], keys = order[alike][first], keys[first]
            began = np.diff(group[alike], prepend=-1) != 0
            began[1:] |= keys[1:] != keys[:-1]
            starts = np.flatnonzero(began)
            lengths = np.diff(starts, append=len(alike))
            group[alike] = np.repeat(alike[starts], lengths)
            alike = alike[np.repeat(lengths > 1, lengths) & (keys & 0xFF > WIDTH)]
            at += WIDTH
        return order

    def _keys(self, rows, at):
        """Whole numbers (n,) that compare as what some values have from byte `at` on: so many bytes, then whether there are more."""
        keys = np.empty(len(rows), np.uint64)
        for start in range(0, len(rows), SORTED_AT_ONCE):
            some = rows[start : start + SORTED_AT_ONCE]
            begin, end = self.offsets[some] + at, self.offsets[some + 1]
            where = begin[:, None] + np.arange(WIDTH)
            block = np.empty((len(some), WIDTH + 1), np.uint8)
            block[:, :WIDTH] = np.where(where < end[:, None], self.flat[np.minimum(where, len(self.flat) - 1)], 0)
            block[:, WIDTH] = np.clip(end - begin, 0, WIDTH + 1)
            keys[start : start + SORTED_AT_ONCE] = block.view(">u8")[:, 0]
        return keys

    def taken(self, rows):
        """The values at some positions, as `Texts`."""
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(self.offsets[rows + 1] - self.offsets[rows], out=offsets[1:])
        flat = np.empty(offsets[-1], np.uint8)
        for start in range(0, len(rows), SORTED_AT_ONCE):
            some = rows[start : start + SORTED_AT_ONCE]
            first, ends = offsets[start], offsets[start + 1 : start + len(some) + 1]
            moved = np.repeat(self.offsets[some + 1] - ends, self.offsets[some + 1] - self.offsets[some])
            flat[first : ends[-1]] = self.flat[moved + np.arange(first, ends[-1])]
        return Texts(flat, offsets)


class Packing:
    """`Texts` in the making."""

    def __init__(self):
        self._flat, self._ends = bytearray(), array.array("q", [0])

    def __len__(self):
        return len(self._ends) - 1

    def append(self, value):
        """Add a value, bytes."""
        self._flat += value
        self._ends.append(len(self._flat))

    def texts(self):
        """What was added, which it shares: nothing is added afterwards."""
        return Texts(np.frombuffer(self._flat, np.uint8), np.frombuffer(self._ends, np.int64))
