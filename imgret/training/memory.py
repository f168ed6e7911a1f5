"""Memory that a step of training frees, and the next one takes again."""

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of glibc's settings, for mallopt(3)
USUAL = {TRIM_THRESHOLD: 128 << 10, MMAP_MAX: 65536}
KEPT = {TRIM_THRESHOLD: 2**31 - 1, MMAP_MAX: 0}


@contextlib.contextmanager
def kept():
    """Within the block freed memory stays with the process; afterwards it is given back.

    The C library gives a large block back to the system when it is freed, and the system clears each page of the next one: for the maps
    of a step on the processor that adds half of the time of the step itself. Without effect where the C library is another than glibc.
    """
    library = ctypes.CDLL(None)
    _set(library, KEPT)
    try:
        yield
    finally:
        _set(library, USUAL)
        with contextlib.suppress(AttributeError):
            library.malloc_trim(0)


def _set(library, values):
    with contextlib.suppress(AttributeError):  # no glibc
        for name, value in values.items():
            library.mallopt(name, value)
