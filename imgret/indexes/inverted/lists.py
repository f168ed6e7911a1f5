"""The lists of an inverted file: its columns, checked before a compiled loop goes into them."""

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import damage

WEIGHTS = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
SIGNATURES = (np.dtype(np.uint8), np.dtype(np.float16))


class Lists:
    """For each word that there is, the entries of the photos that have it.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        `words` (P,) uint32, ascending; `word_offsets` and `byte_offsets` (P + 1,) int64, where the entries of each begin, and the bytes of
        their photo numbers; `photo` (B,) uint8, see `packing`; and of each entry, where there is such, `signature` (E, S) uint8 or
        (E, d) float16, `weight` (E,) uint8, uint16 or float32, `geometry` (E, 2) uint8. They may be a stranger's memory maps.
    photos : int

    Attributes
    ----------
    columns : imgret.indexes.inverted.kernels.Columns
        The same for compiled loops.

    Raises
    ------
    ImgretError
        If the columns do not fit each other. Of what lies between their ends nothing is read here.
    """

    def __init__(self, arrays, photos):
        self.photos = photos
        self.words, self.word_offsets, self.byte_offsets, self.photo = (
            _column(arrays, name, 1, (dtype,)) for name, dtype in _SHAPES.items()
        )
        self.signature = _column(arrays, "signature", 2, SIGNATURES) if "signature" in arrays else None
        self.weight = _column(arrays, "weight", 1, WEIGHTS) if "weight" in arrays else None
        self.geometry = _column(arrays, "geometry", 2, SIGNATURES[:1]) if "geometry" in arrays else None
        for offsets, end in ((self.word_offsets, None), (self.byte_offsets, len(self.photo))):
            if len(offsets) != len(self.words) + 1 or offsets[0] != 0 or (end is not None and offsets[-1] != end):
                raise ImgretError(damage("its lists do not end where its entries do"))
        self.entries = int(self.word_offsets[-1])
        for column in (self.signature, self.weight, self.geometry):
            if column is not None and len(column) != self.entries:
                raise ImgretError(damage("its lists do not end where its entries do"))
        if not 0 <= self.entries <= len(self.photo) or (self.geometry is not None and self.geometry.shape[1] != 2):
            raise ImgretError(damage("its lists do not end where its entries do"))
        self.columns = self._columns()

    @classmethod
    def of_one(cls, words, signature=None, weight=None):
        """The lists of one photo, of words in ascending order (n,)."""
        starts = starts_of(words)
        offsets = np.append(starts, len(words))
        arrays = {"words": words[starts].astype(np.uint32), "word_offsets": offsets, "byte_offsets": offsets}
        arrays["photo"] = np.zeros(len(words), np.uint8)
        arrays |= {} if signature is None else {"signature": signature}
        arrays |= {} if weight is None else {"weight": weight}
        return cls(arrays, 1)

    @property
    def floats(self):
        """Whether signatures are float16; otherwise packed bits."""
        return self.signature is not None and self.signature.dtype == np.float16

    def find(self, words):
        """Where the list of each word is: (n,), int64; −1 where no photo has the word."""
        if not len(self.words):
            return np.full(len(words), -1)
        at = np.minimum(np.searchsorted(self.words, words), len(self.words) - 1)
        return np.where(self.words[at] == words, at, -1)

    def ranges(self, at):
        """Rows that the lists at `at` (n,) are: of entries, and of bytes of photo numbers, (n, 2) each.

        Raises
        ------
        ImgretError
            If they cannot be that.
        """
        entries = np.stack([self.word_offsets[at], self.word_offsets[at + 1]], axis=1)
        taken = np.stack([self.byte_offsets[at], self.byte_offsets[at + 1]], axis=1)
        for rows, count in ((entries, self.entries), (taken, len(self.photo))):
            if (rows[:, 0] < 0).any() or (rows[:, 1] < rows[:, 0]).any() or (rows[:, 1] > count).any():
                raise ImgretError(damage("its lists do not end where its entries do"))
        return entries, taken

    def asked(self, at, factors, signatures=None, line=None):
        """The lists at `at` (n,), each with a factor (n,) and what `Asked` has besides, as compiled loops take them."""
        from imgret.indexes.inverted.kernels import NONE, Asked

        entries, taken = self.ranges(at)
        if signatures is None:
            flat = as_bytes(None)
        else:
            flat = as_bytes(signatures) if signatures.dtype == np.uint8 else np.ascontiguousarray(signatures, np.float32).ravel()
        factors = np.ascontiguousarray(factors, np.float32) if len(at) else NONE[:0].copy()
        return Asked(
            *(np.ascontiguousarray(edge) for rows in (entries, taken) for edge in rows.T),
            flat,
            factors,
            np.zeros((0, 2), np.float32) if line is None else line,
        )

    def _columns(self):
        from imgret.indexes.inverted.kernels import Columns

        size = 0 if self.signature is None else self.signature.shape[1] * self.signature.dtype.itemsize
        width = (0,) * (size // 8) if size in (8, 16) and not self.floats else ()
        each, weighted = (0, ()) if self.weight is None else (self.weight.dtype.itemsize, (0,))
        columns = (self.photo, self.signature, self.weight, self.geometry)
        return Columns(*map(as_bytes, columns), size, each, width, weighted)


def starts_of(*columns):
    """Where runs of equal rows of some columns, (m,) each, begin: (runs,), int64."""
    new = np.ones(len(columns[0]), bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(new)


_SHAPES = {
    "words": np.dtype(np.uint32),
    "word_offsets": np.dtype(np.int64),
    "byte_offsets": np.dtype(np.int64),
    "photo": np.dtype(np.uint8),
}


def _column(arrays, name, ndim, dtypes):
    array = np.asarray(arrays[name])
    if array.ndim != ndim or array.dtype not in dtypes or not array.flags.c_contiguous:
        raise ImgretError(damage(f"'{name}' is not what an inverted file has"))
    return array


def as_bytes(array):
    """An array's bytes, read-only: of one type for compiled loops, wherever it lies in its file."""
    array = np.zeros(0, np.uint8) if array is None else np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    array = array.view()
    array.flags.writeable = False
    return array
