"""What faiss serialises: written block by block; read from a buffer that may be a stranger's, as a view of it, nothing copied."""

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes import structures
from imgret.indexes.base import damage

FAISS_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, MemoryError, OverflowError, IndexError, AttributeError)

WRITE_BYTES = 1 << 20  # given out at once


def size_of(index):
    """How many bytes faiss makes of an index."""
    sizes = []
    write(index, lambda block: sizes.append(len(block)))
    return sum(sizes)


def write(index, append):
    """Serialise an index: `append` gets its bytes in order, a block (n,), uint8, at a time."""
    import faiss

    faiss.write_index(index, faiss.PyCallbackIOWriter(lambda data: append(np.frombuffer(data, np.uint8)), WRITE_BYTES))


def reserve(vector, size):
    """Give an empty vector of faiss' room for what will be appended: one that grows is copied, and twice as large for a moment."""
    vector.resize(size)
    vector.resize(0)


def read(buffer):
    """The faiss index in `buffer`, as a view of it, the reader that the view needs, and where its lists are (`structures.check`).

    No other file is opened.

    Raises
    ------
    ImgretError
        If it holds what is not opened from a file; if faiss cannot read it, or not to its end.
    """
    import faiss

    lists = structures.check(buffer)
    try:
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(buffer), buffer.size)
        index = faiss.read_index(reader, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
    except FAISS_ERRORS:
        raise ImgretError(damage("faiss cannot read its structure")) from None
    if reader.rp_ != buffer.size:  # a view whose last item is cut off is given out nevertheless
        raise ImgretError(damage("its structure ends elsewhere than its bytes"))
    return index, reader, lists
