"""What faiss serialised, read from a buffer that may be a stranger's: a view of it, nothing copied."""

from imgret.errors import ImgretError
from imgret.indexes import structures
from imgret.indexes.base import damage

FAISS_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, MemoryError, OverflowError, IndexError, AttributeError)


def read(buffer):
    """The faiss index in `buffer`, as a view of it, and the reader that the view needs; no other file is opened.

    Raises
    ------
    ImgretError
        If it holds what is not opened from a file; if faiss cannot read it, or not to its end.
    """
    import faiss

    structures.check(buffer)
    try:
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(buffer), buffer.size)
        index = faiss.read_index(reader, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
    except FAISS_ERRORS:
        raise ImgretError(damage("faiss cannot read its structure")) from None
    if reader.rp_ != buffer.size:  # a view whose last item is cut off is given out nevertheless
        raise ImgretError(damage("its structure ends elsewhere than its bytes"))
    return index, reader
