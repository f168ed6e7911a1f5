"""What descriptors of a whole photo share: cells of a grid, a square of fixed size, unit length."""

import numpy as np

from imgret import arrays
from imgret.images import BadPhoto


def slices(length, count):
    """`length` pixels in `count` runs of nearly the same length, in order; where there are fewer pixels than runs, runs share them.

    Parameters
    ----------
    length, count : int
        At least 1.

    Returns
    -------
    list of slice
        None of them empty.
    """
    starts = [i * length // count for i in range(count + 1)]
    return [slice(first, max(first + 1, last)) for first, last in zip(starts, starts[1:], strict=False)]


def split(pixels, count):
    """The `count` x `count` cells of `pixels`, shape (H, W, ...), as views: left to right, then top to bottom."""
    across = slices(pixels.shape[1], count)
    return [pixels[rows, columns] for rows in slices(pixels.shape[0], count) for columns in across]


def square(pixels, side):
    """`pixels`, shape (H, W), resized to (side, side) whatever their proportions: by averaging areas, or bilinear where enlarged."""
    import cv2

    height, width = pixels.shape
    smaller = cv2.resize(pixels, (min(width, side), min(height, side)), interpolation=cv2.INTER_AREA)
    return cv2.resize(smaller, (side, side), interpolation=cv2.INTER_LINEAR)


def unit(x, reason):
    """`x`, shape (dim,), divided by its L2 norm, float32.

    Raises
    ------
    BadPhoto
        `no-descriptors`, with `reason`, if it is zero or not finite.
    """
    x = np.asarray(x)
    if not (x.any() and np.isfinite(x).all()):
        raise BadPhoto("no-descriptors", reason)
    return arrays.unit(x, np.float32)


def refuse_flat(pixels):
    """Raise `BadPhoto` (`no-descriptors`) if all `pixels` are the same."""
    if pixels.min() == pixels.max():
        raise BadPhoto("no-descriptors", "all its pixels are the same")
