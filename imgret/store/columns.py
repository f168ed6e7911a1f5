"""Appending to the columns of a store that is being written."""

import h5py
import numpy as np

from imgret.store.blocks import BlockHashes, checksum_of, dataset_of
from imgret.store.hashing import ColumnHash
from imgret.store.text import Texts

WRITE_BYTES, WRITE_BLOCKS = 2 << 20, 512  # appends are gathered up to this size and number
ONE_BY_ONE_BYTES = 1 << 19  # gathered blocks of this size are not worth putting together
CHUNK_BYTES = 1 << 18  # of a column that grows; what its last chunk does not fill is wasted


def fixed(text):
    """A text as an attribute of fixed length: one of variable length would be in libhdf5's global heap. Arguments of `attrs.create`."""
    data = text.encode()
    return {"data": data, "dtype": h5py.string_dtype("utf-8", max(1, len(data)))}


class ColumnWriter:
    """Appends rows to one dataset, hashing them on the way.

    Parameters
    ----------
    file : h5py.File
    check : callable
        Called after every write; raises what went wrong.
    path : str
    row_shape : tuple of int
    dtype : dtype
    total : int or None
        Number of rows, where it is known: the column is then contiguous. Otherwise (parts) it is contiguous if it is small, and else
        chunked, so that it can grow.
    attributes : dict of str to str, optional

    Attributes
    ----------
    blocks : str
        Checksum of the checksums of its blocks, once it is finished; '' where it is one block, which the column's own stands for.
    """

    def __init__(self, file, check, path, row_shape, dtype, total=None, attributes=None):
        self.path, self.row_shape, self.dtype = path, tuple(row_shape), np.dtype(dtype).newbyteorder("<")
        self._file, self._check, self._dataset, self._total, self.attributes = file, check, None, total, attributes or {}
        self._hash, self._block_hashes, self.blocks = ColumnHash(), BlockHashes(row_shape, dtype), ""
        self._pending, self._pending_bytes, self._rows = [], 0, 0

    def append(self, block):
        """Add rows.

        Parameters
        ----------
        block : ndarray, shape (n, *row_shape)
            It may be kept for a while: it must not change afterwards.
        """
        block = np.asarray(block, dtype=self.dtype)
        if block.shape[1:] != self.row_shape:
            raise ValueError(f"rows of shape {block.shape[1:]} do not fit '{self.path}' {self.row_shape}")
        if not len(block):
            return
        self._pending.append(block)
        self._pending_bytes += block.nbytes
        if self._pending_bytes >= WRITE_BYTES or len(self._pending) >= WRITE_BLOCKS:
            self._flush()

    def _flush(self, last=False):
        blocks = self._pending
        if len(blocks) * ONE_BY_ONE_BYTES > self._pending_bytes:
            blocks = [np.concatenate(blocks)]
        self._pending, self._pending_bytes = [], 0
        if self._dataset is None:
            self._create(sum(map(len, blocks)) if last and self._total is None else self._total)
        for block in blocks:
            self._hash.update(block)
            self._block_hashes.update(block)
            end = self._rows + len(block)
            if self._dataset.shape[0] < end:
                self._dataset.resize(end, axis=0)
            self._dataset[self._rows : end] = block
            self._check()
            self._rows = end

    def _create(self, total):
        options = {"fill_time": "never"}
        if total is None:
            width = max(1, self.dtype.itemsize * int(np.prod(self.row_shape, dtype=np.int64)))
            options |= {"maxshape": (None, *self.row_shape), "chunks": (max(1, CHUNK_BYTES // width), *self.row_shape)}
        self._dataset = self._file.create_dataset(self.path, (total or 0, *self.row_shape), self.dtype, **options)
        for name, value in self.attributes.items():
            self._dataset.attrs.create(name, **fixed(value))

    def finish(self):
        """Write what is pending, and the checksums of the blocks; returns the column's checksum."""
        self._flush(last=True)
        if self._total is not None and self._rows != self._total:
            raise ValueError(f"'{self.path}' got {self._rows} rows of {self._total}")
        self._write_blocks()
        return self._hash.hexdigest(self.dtype, self._dataset.shape)

    def _write_blocks(self):
        digests = self._block_hashes.digests()
        if len(digests) > 1:
            self.blocks = checksum_of(digests, self.dtype, self._dataset.shape)
            self._file.create_dataset(dataset_of(self.path), data=digests, fill_time="never")
            self._check()


class TextWriter:
    """Appends byte strings to a text column (its bytes and its offsets).

    `count` and `size` are the number of values and of bytes in all, where they are known.
    """

    def __init__(self, writer, path, count=None, size=None):
        self._bytes = writer.column(path, (), np.uint8, size)
        self._offsets = writer.column(path + "_offsets", (), np.int64, None if count is None else count + 1)
        self._offsets.append(np.zeros(1, np.int64))
        self._end = 0

    def append(self, values):
        """Add values: `Texts` or an iterable of bytes."""
        texts = values if isinstance(values, Texts) else Texts.of(values)
        self._bytes.append(texts.flat)
        self._offsets.append(texts.offsets[1:] - texts.offsets[0] + self._end)
        self._end += int(texts.offsets[-1] - texts.offsets[0])
