"""Many byte strings in two arrays: how names are kept in memory and in a file."""

import numpy as np


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
        """Pack an iterable of bytes."""
        values = list(values)
        offsets = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum([len(value) for value in values], out=offsets[1:])
        return cls(np.frombuffer(b"".join(values), dtype=np.uint8), offsets)

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
        data, ends = self.flat.tobytes(), self.offsets.tolist()
        for start, end in zip(ends, ends[1:], strict=False):
            yield data[start:end]

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
