"""Arrays: normalisations, RootSIFT, and the checks of dtype and shape at the library's boundaries."""

import numpy as np

from imgret.errors import ImgretError

TINIEST = float(np.finfo(np.float32).tiny)  # smaller numbers have fewer digits
SMALLEST, LARGEST = 1e-15, 1e15  # L2 norms whose squares float32 holds to all its digits

TOO_LARGE = "the descriptors are too large to be encoded in float32: scale them, and train the codebook on them again"


def rows(x, columns=None, what="the input"):
    """`x` as a C-contiguous float32 matrix of finite numbers.

    Parameters
    ----------
    x : array_like, shape (T, D)
    columns : int, optional
        The D that is asked for.
    what : str
        What `x` is, for the message.

    Returns
    -------
    ndarray, shape (T, D), float32

    Raises
    ------
    ImgretError
        For another number of axes or columns, or for a NaN or an infinity.
    """
    x = np.ascontiguousarray(x, dtype=np.float32)
    if x.ndim != 2:
        raise ImgretError(f"{what} must be a matrix of rows and columns, got {x.ndim} axes")
    if columns is not None and x.shape[1] != columns:
        raise ImgretError(f"{what} has {x.shape[1]} columns, {columns} are needed")
    if not np.isfinite(x).all():
        raise ImgretError(f"{what} holds NaN or infinite values")
    return x


def row_norms(x, pairwise=False):
    """L2 norms of the rows of a matrix, over the whole float32 range: squares that overflow or vanish in float32 are taken in float64.

    Parameters
    ----------
    x : ndarray, shape (T, D), float32
    pairwise : bool
        Add the squares of a row pairwise, which rounds least where rows are long, and makes a matrix of the squares; otherwise one after
        another (a vector register at a time), which makes nothing. The two differ in the last digit: vectors that are stored keep to one.

    Returns
    -------
    ndarray, shape (T,), float64
    """
    if pairwise:
        with np.errstate(over="ignore", under="ignore"):
            squares = np.sum(np.square(x), axis=1)
    else:
        squares = np.einsum("ij,ij->i", x, x)
    squares = squares.astype(np.float64)
    odd = np.flatnonzero(~((squares > SMALLEST**2) & (squares < LARGEST**2)))
    if odd.size:
        wide = x[odd].astype(np.float64)
        squares[odd] = np.einsum("ij,ij->i", wide, wide)
    return np.sqrt(squares)


def unit_rows(x, pairwise=False, out=None):
    """Rows divided by their L2 norms, over the whole float32 range; a zero row stays zero. A row's result depends on that row alone.

    Parameters
    ----------
    x : ndarray, shape (T, D), float32
    pairwise : bool
        As in `row_norms`.
    out : ndarray, shape (T, D), float32, optional
        Where the result goes; may be `x`.

    Returns
    -------
    ndarray, shape (T, D), float32
    """
    norms = row_norms(x, pairwise)
    norms[norms == 0] = 1
    odd = np.flatnonzero((norms < SMALLEST) | (norms > LARGEST))
    if odd.size:
        beyond, norms[odd] = norms[odd, None], 1
    unit = np.divide(x, norms.astype(np.float32)[:, None], out=out)
    if odd.size:
        unit[odd] = unit[odd] / beyond  # in float64: float32 may not hold such a norm
    return unit


def zero_rows(x):
    """How many rows of a matrix are all zero: they have no direction."""
    return len(x) - int(np.count_nonzero(x.any(axis=1)))


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
        raise ImgretError(TOO_LARGE)
    if norm > 0:
        x /= norm
    return x.astype(dtype)


def power_normalize(x, exponent=0.5):
    """sign(x) |x|^exponent (Perronnin, Sánchez & Mensink, ECCV 2010, section 3.3); 0.5 is the signed square root."""
    if exponent == 0.5:
        return np.copysign(np.sqrt(np.abs(x)), x)
    return np.copysign(np.abs(x) ** exponent, x)


def rootsift(descriptors):
    """RootSIFT: L1-normalise, then the square root (Arandjelović & Zisserman, CVPR 2012, section 2).

    Parameters
    ----------
    descriptors : ndarray, shape (T, D)
        Non-negative; whole numbers as SIFT is stored, or floats.

    Returns
    -------
    ndarray, shape (T, D), float32
        Rows of unit L2 norm; a zero row stays zero.
    """
    x = np.asarray(descriptors, dtype=np.float32)
    with np.errstate(over="ignore"):
        total = x.sum(axis=1, keepdims=True)
    odd = np.flatnonzero((total[:, 0] < TINIEST) | (total[:, 0] == np.inf))
    root = np.sqrt(x / np.where(total > 0, total, 1))
    if odd.size:  # sums that leave float32, or its full precision
        wide = x[odd].astype(np.float64)
        total = wide.sum(axis=1, keepdims=True)
        root[odd] = np.sqrt(wide / np.where(total > 0, total, 1))
    return root


def random_rotation(rows, columns, seed):
    """The first rows of a random orthogonal matrix, by QR of a Gaussian one: (rows, columns), float32.

    The signs are those for which all orthogonal matrices are equally likely (Mezzadri, Notices of the AMS 2007, section 5).
    """
    gaussian = np.random.default_rng(seed).standard_normal((columns, columns))
    turned, upper = np.linalg.qr(gaussian)
    return np.ascontiguousarray((turned * np.sign(np.diag(upper))).T[:rows], dtype=np.float32)
