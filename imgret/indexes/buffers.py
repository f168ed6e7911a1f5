"""What faiss serialised, read from a buffer that may be a stranger's: a view of it, nothing copied."""

import contextlib
import threading

from imgret.errors import ImgretError
from imgret.indexes.base import damage

FAISS_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, MemoryError, OverflowError, IndexError, AttributeError)
_LIMITS = threading.Lock()


def must(condition):
    """Raise ValueError where what was read is not as it should be: for `_adopt` and what it calls."""
    if not condition:
        raise ValueError


def read(buffer):
    """The faiss index in `buffer`, as a view of it, and the reader that the view needs.

    Raises
    ------
    ImgretError
        If faiss cannot read it, or not to its end.
    """
    import faiss

    with _limited(faiss, max(1, buffer.size)):
        try:
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(buffer), buffer.size)
            index = faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
        except FAISS_ERRORS:
            raise ImgretError(damage("faiss cannot read its structure")) from None
    if reader.rp_ != buffer.size:  # a view whose last item is cut off is given out nevertheless
        raise ImgretError(damage("its structure ends elsewhere than its bytes"))
    return index, reader


@contextlib.contextmanager
def _limited(faiss, size):
    """No part of a structure is larger than all of it: so a length that cannot be right is refused, not allocated."""
    limits = [limit for limit in ("vector_byte_limit", "loop_limit") if hasattr(faiss, f"set_deserialization_{limit}")]
    with _LIMITS:  # they belong to the whole process
        before = [getattr(faiss, f"get_deserialization_{limit}")() for limit in limits]
        try:
            for limit in limits:
                getattr(faiss, f"set_deserialization_{limit}")(size)
            yield
        finally:
            for limit, value in zip(limits, before, strict=True):
                getattr(faiss, f"set_deserialization_{limit}")(value)
