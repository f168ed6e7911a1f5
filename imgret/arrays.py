"""Arrays: normalisations, RootSIFT, and the checks of dtype and shape at the library's boundaries."""

import numpy as np

from imgret.errors import ImgretError


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


def l2_normalize(x, axis=-1):
    """`x` divided by its L2 norm along `axis`; a zero vector stays zero. Returns a new array of the same float dtype."""
    norm = np.sqrt(np.sum(np.square(x), axis=axis, keepdims=True))
    return x / np.where(norm > 0, norm, 1)


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
    total = x.sum(axis=1, keepdims=True)
    return np.sqrt(x / np.where(total > 0, total, 1))
