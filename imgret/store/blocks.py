"""Checksums of a column's blocks: made while it is written, and kept beside it.

A block is as many whole rows as `BLOCK_BYTES` hold, one at least: the column alone decides, not how it was written. A column of more than
one has the XXH3-64 of each in a dataset of its own under `blocks/`, whose checksum is among the others' under "#" and the column's path.
A column that has none there is one block: a small one, and any by an older imgret.
"""

import array
import math

import numpy as np
import xxhash

from imgret.store import layout
from imgret.store.hashing import ColumnHash

BLOCK_BYTES = 1 << 18
DTYPE = np.dtype("<u8")


def dataset_of(path):
    """Where the checksums of a column's blocks are."""
    return f"{layout.BLOCKS_GROUP}/{path}"


def row_bytes(row_shape, dtype):
    """Bytes of a row; 1 where it has none."""
    return max(1, np.dtype(dtype).itemsize * math.prod(row_shape))


def block_rows(row_shape, dtype):
    """Rows of a block."""
    return max(1, BLOCK_BYTES // row_bytes(row_shape, dtype))


def digest_of(rows):
    """XXH3-64 of an array's bytes."""
    return xxhash.xxh3_64_intdigest(_bytes(rows))


def checksum_of(digests, dtype, shape):
    """Checksum of the blocks' checksums (n,), uint64, of a column of this dtype and shape, hex."""
    column = ColumnHash()
    column.update(digests)
    return column.hexdigest(dtype, shape)


class BlockHashes:
    """XXH3-64 of each block of a column as it streams past, however it is cut."""

    def __init__(self, row_shape, dtype):
        self._size = block_rows(row_shape, dtype) * row_bytes(row_shape, dtype)
        self._hash, self._left, self._digests = xxhash.xxh3_64(), self._size, array.array("Q")

    def update(self, rows):
        """Add an array's bytes."""
        data, at = _bytes(rows), 0
        while at < len(data):
            piece = data[at : at + self._left]
            at += len(piece)
            if len(piece) == self._size:
                self._digests.append(xxhash.xxh3_64_intdigest(piece))
                continue
            self._hash.update(piece)
            self._left -= len(piece)
            if not self._left:
                self._end()

    def digests(self):
        """Those of all blocks: ndarray, shape (n,), uint64. Nothing can be added any more."""
        if self._left < self._size:
            self._end()
        return np.array(self._digests, DTYPE)

    def _end(self):
        self._digests.append(self._hash.intdigest())
        self._hash.reset()
        self._left = self._size


def _bytes(rows):
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data if rows.size else b""
