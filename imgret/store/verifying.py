"""No row of a store is used before the block that it lies in has been verified, each once for an open store.

A store records more checksums than its `content` is made of, under "#": that of the checksums of the blocks of a column ("#" and its path),
of an attribute of a column ("#", its path, "." and the name), and "#" alone, of what the store says of itself and has no other checksum.
What was written before there were such is read without.
"""

import functools
import math

import numpy as np

from imgret.errors import ImgretError
from imgret.store.blocks import BLOCK_BYTES, DTYPE, block_rows, checksum_of, dataset_of, digest_of, row_bytes
from imgret.store.hashing import ColumnHash, of_json

READ_BYTES = 4 << 20  # read at once of a column that is one large block
REMEDY = "remove the file and make it again, or restore a copy"


class Verifier:
    """What has been verified of an open store.

    Parameters
    ----------
    members : imgret.store.opening.Datasets
        Of the file.
    checksums : dict of str to str
        That it records.
    shown : str
        What it is called in messages.
    columns : dict of str to Blocks or Whole
        Of a store that was open before and is the same: what has been verified of it need not be again.

    Attributes
    ----------
    columns : dict of str to Blocks or Whole
        By path; of those that have been looked at.
    """

    def __init__(self, members, checksums, shown, columns):
        self._members, self._checksums, self._shown, self.columns = members, checksums, shown, columns

    def column(self, path, shape, dtype):
        """The `Blocks` of a column, or the `Whole` that it is.

        Raises
        ------
        ImgretError
            If their checksums are damaged.
        """
        if path not in self.columns:
            digests, refuse = self.digests(path, shape, dtype), functools.partial(self._refuse, path)
            whole = digests is None
            self.columns[path] = Whole(shape, dtype, self._checksums.get(path), refuse) if whole else Blocks(shape, dtype, digests, refuse)
        return self.columns[path]

    def digests(self, path, shape, dtype):
        """The checksums of a column's blocks, (n,), uint64; None where it is one block."""
        checksum = self._checksums.get(f"#{path}")
        if checksum is None:
            return None
        there = dataset_of(path)
        dataset, count = self._members.open(there), -(-shape[0] // block_rows(shape[1:], dtype))
        if dataset.dtype != DTYPE or dataset.shape != (count,):
            raise ImgretError(f"{self._shown} is damaged: '{there}' is not {count} checksums")
        try:
            digests = dataset[()]
        except (OSError, RuntimeError, ValueError):
            digests = np.zeros(0, DTYPE)
        if checksum_of(digests, dtype, shape) != checksum:
            self._refuse(there)
        return digests

    def attribute(self, path, name, text):
        """A text attribute of a column, verified."""
        checksum = self._checksums.get(f"#{path}.{name}")
        if checksum is not None and of_json(text) != checksum:
            raise ImgretError(f"{self._shown} is damaged: the attribute '{name}' of '{path}' does not match its checksum: {REMEDY}")
        return text

    def _refuse(self, path):
        raise ImgretError(f"{self._shown} is damaged: '{path}' does not match its checksum: {REMEDY}")


class Whole:
    """A column that is one block.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    checksum : str or None
        The column's.
    refuse : callable
        Raises; called where it is not what it was.

    Attributes
    ----------
    verified : bool
        Whether it has been.
    """

    def __init__(self, shape, dtype, checksum, refuse):
        self._shape, self._dtype, self._checksum, self._refuse, self.verified = shape, dtype, checksum, refuse, False
        self._row, self._bytes = row_bytes(shape[1:], dtype), np.dtype(dtype).itemsize * math.prod(shape)

    def read(self, read, start, stop):
        """Rows `start` to `stop`, verified, as a new array; see `Blocks.read`."""
        if self.verified or start >= stop:
            return read(start, stop)
        count = self._shape[0]
        if (start, stop) != (0, count) and self._bytes > BLOCK_BYTES:
            self._verify(read)
            return read(start, stop)
        rows = read(0, count)
        self._verify(lambda begin, end: rows[begin:end])
        return _cut(rows, start, stop)

    def verify(self, read, ranges):
        """Verify it, if there is a row in any of the ranges; see `Blocks.verify`."""
        if not self.verified and (ranges[:, 0] < ranges[:, 1]).any():
            self._verify(read)

    def _verify(self, read):
        column, count, step = ColumnHash(), self._shape[0], max(1, READ_BYTES // self._row)
        for start in range(0, count if self._bytes else 0, step):
            column.update(read(start, min(start + step, count)))
        if column.hexdigest(self._dtype, self._shape) != self._checksum:
            self._refuse()
        self.verified = True


class Blocks:
    """A column of several blocks, and which of them have been verified.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    digests : ndarray, shape (n,), uint64
        The blocks' checksums.
    refuse : callable
        Raises; called where a block is not what it was.

    Attributes
    ----------
    pending : ndarray, shape (n,), bool
        Those that have not been verified.
    verified : bool
        Whether all have been.
    """

    def __init__(self, shape, dtype, digests, refuse):
        self._count, self._rows, self._digests, self._refuse = shape[0], block_rows(shape[1:], dtype), digests, refuse
        self.pending, self.verified = np.ones(len(digests), bool), False

    def read(self, read, start, stop):
        """Rows `start` to `stop`, verified, as a new array.

        Parameters
        ----------
        read : callable
            `read(start, stop)` gives a new array of rows, sound or not.
        start, stop : int
            0 <= start, stop <= rows of the column.
        """
        blocks = self._pending(start, stop)
        if not blocks:
            return read(start, stop)
        first, last = min(start, blocks[0] * self._rows), max(stop, self._end(blocks[-1]))
        rows = read(first, last)
        self._verify(lambda begin, end: rows[begin - first : end - first], blocks)
        return _cut(rows, start - first, stop - first)

    def verify(self, read, ranges):
        """Verify the blocks that some rows lie in.

        Parameters
        ----------
        read : callable
            As for `read`; what it gives need not be new.
        ranges : ndarray, shape (n, 2), int64
            First and last + 1 row of each.
        """
        ranges = ranges[ranges[:, 0] < ranges[:, 1]]
        if self.verified or not len(ranges):
            return
        edges = np.zeros(len(self.pending) + 1, np.int64)
        np.add.at(edges, ranges[:, 0] // self._rows, 1)
        np.add.at(edges, (ranges[:, 1] - 1) // self._rows + 1, -1)
        self._verify(read, np.flatnonzero((np.cumsum(edges[:-1]) > 0) & self.pending).tolist())

    def _pending(self, start, stop):
        """Blocks that are yet to be verified before rows `start` to `stop` are used."""
        if self.verified or start >= stop:
            return []
        first = start // self._rows
        return (first + np.flatnonzero(self.pending[first : (stop - 1) // self._rows + 1])).tolist()

    def _verify(self, read, blocks):
        for block in blocks:
            if digest_of(read(block * self._rows, self._end(block))) != self._digests[block]:
                self._refuse()
            self.pending[block] = False
        self.verified = not self.pending.any()

    def _end(self, block):
        return min((block + 1) * self._rows, self._count)


def _cut(rows, start, stop):
    """Some rows of an array that is needed no more."""
    cut = rows[start:stop]
    return cut if 2 * len(cut) >= len(rows) else cut.copy()  # a view would keep all of it
