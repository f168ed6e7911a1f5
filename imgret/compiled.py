"""Loops that are compiled when they are first called, and kept compiled: beside the package, or where the user's caches are."""

import contextlib
import functools

import numba
from numba.core import serialize
from numba.core.caching import FunctionCache

DAMAGED = serialize.pickle.UnpicklingError  # Numba's files, which nobody else writes
UNREADABLE = (DAMAGED, EOFError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError)


class Kept(FunctionCache):
    """What is kept of a function that has been compiled: where it cannot be read, it is compiled again."""

    def load_overload(self, signature, context):
        """See `numba.core.caching.FunctionCache`; None for what is damaged."""
        try:
            return super().load_overload(signature, context)
        except UNREADABLE:
            return None

    def save_overload(self, signature, data):
        """Keep it, in the place of what is damaged."""
        with contextlib.suppress(*UNREADABLE):
            try:
                super().save_overload(signature, data)
            except UNREADABLE:
                self.flush()
                super().save_overload(signature, data)


def compiled(function=None, **how):
    """A decorator: the function compiled by Numba, so that threads run it at the same time, and 0 / 0 is NaN as in NumPy.

    Where nothing may be kept (the package and the user's folders are read-only), it is compiled by each process anew.

    Parameters
    ----------
    function : callable
    **how
        As `numba.njit` takes it.
    """
    if function is None:
        return functools.partial(compiled, **how)
    loop = numba.njit(**{"nogil": True, "error_model": "numpy"} | how)(function)
    with contextlib.suppress(RuntimeError):  # there is no folder for it
        loop._cache = Kept(function)  # what `cache=True` does, with another class
    return loop
