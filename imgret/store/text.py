"""Many byte strings in two arrays: how names are kept in memory and in a file."""

import array
import itertools

import numpy as np

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
        values, flat, lengths = iter(values), bytearray(), array.array("q", [0])
        while block := list(itertools.islice(values, BLOCK)):
            flat += b"".join(block)
            lengths.extend(map(len, block))
        return cls(np.frombuffer(flat, dtype=np.uint8), np.cumsum(lengths, dtype=np.int64))

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
