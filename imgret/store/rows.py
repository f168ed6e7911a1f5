"""The columns of an open store, as they are read: no row is given out before the block that it lies in has been verified."""

import functools

import numpy as np

from imgret.errors import ImgretError
from imgret.store.blocks import block_rows, row_bytes
from imgret.store.opening import reason
from imgret.store.text import Texts

BLOCK_BYTES = 4 << 20  # how much is read at once


class Rows:
    """Base of `imgret.store.reader.Store`, which opens the columns: what is read of them.

    Raises
    ------
    ImgretError
        Whatever is called, where a column cannot be read, or does not match its checksum.
    """

    def column_names(self):
        """Paths of the columns, in the layout's order."""
        return list(self._extents)

    def has(self, path):
        """Whether the store has this column."""
        return path in self._extents

    def column(self, path):
        """What the layout says of a column: an `imgret.store.schema.Column`."""
        return self._columns[path]

    def group(self, name):
        """The columns under a group: what each is called there -> its path."""
        called = {path: column.stands_for or path for path, column in self._columns.items()}
        return {full.removeprefix(f"{name}/"): path for path, full in called.items() if full.startswith(f"{name}/")}

    def shape(self, path):
        """Shape of a column."""
        return self._extents[path][0]

    def dtype(self, path):
        """dtype of a column."""
        return self._extents[path][1]

    def read(self, path, start=0, stop=None, verified=True):
        """Rows `start` to `stop` of a column, as a new array; with `verified`, refused where they do not match their checksum."""
        if not self._file:
            raise ImgretError(f"{self.shown} is closed: open it again to read it")
        start, stop, _ = slice(start, stop).indices(self.shape(path)[0])
        if not verified:
            return self._rows(path, start, stop)
        return self._blocks(path).read(functools.partial(self._rows, path), start, max(start, stop))

    def verify(self, path, ranges=None):
        """Verify rows of a column that is mapped; also when the file is closed.

        Parameters
        ----------
        path : str
        ranges : array_like, shape (n, 2), optional
            First and last + 1 row of each; everything by default.

        Returns
        -------
        bool
            Whether all rows of the column have been verified by now.
        """
        mapped, blocks = self._maps[path], self._blocks(path)
        blocks.verify(lambda start, stop: mapped[start:stop], np.array([[0, len(mapped)]] if ranges is None else ranges, np.int64))
        return blocks.verified

    def block_digests(self, path):
        """The checksums of a column's blocks as they are in the file, verified: (n,), uint64; None where it is one block."""
        return self._verifier.digests(path, *self._extents[path])

    def _blocks(self, path):
        return self._verifier.column(path, *self._extents[path])

    def _rows(self, path, start, stop):
        try:
            return self._datasets[path][start:stop]
        except (OSError, RuntimeError, ValueError) as error:
            raise ImgretError(f"{self.shown} is damaged: '{path}' cannot be read ({reason(error)})") from None

    def blocks(self, path, block_bytes=BLOCK_BYTES, verified=True):
        """Yield a column block by block, about `block_bytes` at a time."""
        (count, *row_shape), dtype = self._extents[path]
        step, rows = max(1, block_bytes // row_bytes(row_shape, dtype)), block_rows(row_shape, dtype)
        step -= step % rows if step > rows else 0  # nothing is read twice to be verified
        for start in range(0, count, step):
            yield self.read(path, start, min(start + step, count), verified)

    def texts(self, path, start=0, stop=None, verified=True):
        """Values `start` to `stop` of a text column, as `Texts`."""
        count = self.shape(path + "_offsets")[0] - 1
        start, stop, _ = slice(start, stop).indices(count)
        stop = max(start, stop)
        offsets = self.read(path + "_offsets", start, stop + 1, verified)
        first, last = int(offsets[0]), int(offsets[-1])
        if first < 0 or last > self.shape(path)[0] or np.any(offsets[1:] < offsets[:-1]):
            raise ImgretError(f"{self.shown} is damaged: the offsets of '{path}' do not rise")
        return Texts(self.read(path, first, last, verified), offsets - first)

    def photo_names(self, start=0, stop=None):
        """The names of the photos that the rows `start` to `stop` stand for, as `Texts`: of a row per box, of the photo it is of."""
        return self.texts("photo_names" if self.has("photo_names") else "names", start, stop)

    def text_list(self, path):
        """A short text column as a list of str."""
        return [value.decode("utf-8", "replace") for value in self.texts(path)]

    def descriptor_range(self, start, stop):
        """Offsets of the photos `start` to `stop`: shape (stop - start + 1,), checked to rise within what they count."""
        column = self.layout.offsets
        offsets = self.read(column.path, start, stop + 1)
        if offsets[0] < 0 or offsets[-1] > self.sizes[column.counts] or np.any(offsets[1:] < offsets[:-1]):
            raise ImgretError(f"{self.shown} is damaged: '{column.path}' do not rise")
        return offsets

    def map(self, path):
        """A contiguous column as a read-only memory map: nothing is read until it is touched, and nothing verified but by `verify`.

        A column under a group may be empty; it is no map then.

        Raises
        ------
        ImgretError
            If the column is not contiguous.
        """
        dataset = self._datasets[path]
        if not dataset.size and self._columns[path].group:
            return self.read(path)
        offset = dataset.id.get_offset()
        if offset is None or not dataset.size:
            raise ImgretError(f"{self.shown} is damaged: '{path}' is not contiguous")
        self._blocks(path)  # what is needed to verify it is read while the file is open
        self._maps[path] = np.memmap(self.path, mode="r", dtype=dataset.dtype, shape=dataset.shape, offset=offset)
        return self._maps[path]
