"""Sparse matrices of photos and their words: as SciPy saves them, and as lines of text."""

import io
import zipfile

import numpy as np

from imgret.formats.matrices import encode_rows, npy_header
from imgret.names import trec_escape

WHEN = (1980, 1, 1, 0, 0, 0)  # what a zip says of a file's age, where nobody wants to know: the same arrays are the same bytes


class _Sink(io.RawIOBase):
    """A file that is taken away as it is written: a zip that is never whole in memory."""

    def __init__(self):
        self._blocks = []

    def writable(self):
        return True

    def write(self, data):
        self._blocks.append(bytes(data))
        return len(data)

    def taken(self):
        """What was written since it was asked last."""
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)


def npz(members):
    """Yield the bytes of an `.npz`, without pickle and not compressed.

    Parameters
    ----------
    members : iterable of (str, tuple, dtype, iterable of ndarray)
        Name, shape, type, and rows of each array, block by block.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", allowZip64=True) as archive:
        for name, shape, dtype, blocks in members:
            with archive.open(zipfile.ZipInfo(f"{name}.npy", WHEN), "w", force_zip64=True) as member:
                member.write(npy_header(shape, np.dtype(dtype)))
                for block in blocks:
                    member.write(encode_rows(np.asarray(block, dtype), "npy"))
                    yield sink.taken()
    yield sink.taken()


def word_lines(names, counts, words, weights):
    """Yield the lines "PHOTO WORD WEIGHT" of some photos, their names percent-encoded as in a TREC run.

    Parameters
    ----------
    names : iterable of bytes
    counts : sequence of int
        Entries of each.
    words, weights : ndarray, shape (E,)
    """
    start = 0
    for name, count in zip(names, counts, strict=True):
        shown = trec_escape(name)
        for word, weight in zip(words[start : start + count].tolist(), weights[start : start + count].tolist(), strict=True):
            yield f"{shown} {word} {weight:.9g}"
        start += count
