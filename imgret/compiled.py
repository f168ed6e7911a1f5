"""Loops that are compiled when they are first called, and kept compiled: beside the package, or where the user's caches are."""

import functools

import numba


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
    how = {"nogil": True, "error_model": "numpy"} | how
    try:
        return numba.njit(cache=True, **how)(function)
    except RuntimeError:  # no folder for it
        return numba.njit(**how)(function)
