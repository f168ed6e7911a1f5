"""L2 normalisation that holds over the whole float32 range: squares that overflow or vanish in float32 are taken in float64."""

import numpy as np

from imgret.errors import ImgretError


def unit(x, dtype):
    """`x` as one vector over its L2 norm, in a new array of the same shape; all zeros stay zero.

    Parameters
    ----------
    x : ndarray
    dtype : str or dtype
        Of the result.

    Raises
    ------
    ImgretError
        If `x` is not finite: the descriptors were too large for float32 arithmetic.
    """
    x = x.astype(np.float64)
    flat = x.reshape(-1)
    norm = np.sqrt(flat @ flat)
    if not np.isfinite(norm):
        raise ImgretError("the descriptors are too large to be encoded in float32: scale them, and train the codebook on them again")
    if norm > 0:
        x /= norm
    return x.astype(dtype)


def row_norms(x):
    """L2 norms of the rows of a float32 matrix, (T,) float64."""
    squares = np.einsum("ij,ij->i", x, x).astype(np.float64)
    odd = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))
    if odd.size:
        rows = x[odd].astype(np.float64)
        squares[odd] = np.einsum("ij,ij->i", rows, rows)
    return np.sqrt(squares)


def unit_rows(x):
    """Divide each row of the float32 matrix `x`, in place, by its L2 norm; a zero row stays zero. Returns `x`."""
    norms = row_norms(x)
    norms[norms == 0] = 1
    if norms.size and (norms.min() < 1e-15 or norms.max() > 1e15):
        x[:] = x / norms[:, None]  # in float64
    else:
        x /= norms.astype(np.float32)[:, None]
    return x
