"""Safe coordinates of a sample."""

import dataclasses
import math

import numpy as np

from imgret.errors import ImgretError
from imgret.parallel import blocks, ordered_map

LARGEST = 1e18  # squares of larger values leave float32, here and in every index


@dataclasses.dataclass(frozen=True)
class Frame:
    """Coordinates in which float32 keeps its digits: the sample's mean at the origin, values at most 2 in size.

    `scale` is a power of two, so that scaling rounds nothing; `constant` marks the columns that hold one value.
    """

    mean: np.ndarray
    scale: float
    constant: np.ndarray

    def apply(self, x, columns=slice(None)):
        """(x - mean) * scale as a new float32 array; `columns` are those of the sample that `x` holds."""
        z = x - self.mean[columns]
        z *= np.float32(self.scale)
        return z

    def restore(self, z):
        """`z` in the sample's own coordinates, float32."""
        return (np.asarray(z, np.float64) / self.scale + self.mean).astype(np.float32)


def frame_of(x, jobs=1):
    """The `Frame` of a sample, which is checked on the way (in blocks: nothing of the sample's size is made).

    Raises
    ------
    ImgretError
        For NaN, infinities, and values beyond 1e18.
    """
    total = np.zeros(x.shape[1])
    low, high = np.full(x.shape[1], np.inf, np.float32), np.full(x.shape[1], -np.inf, np.float32)

    def look(block):
        part = x[block]
        return part.min(axis=0), part.max(axis=0), np.full(len(part), 1 / len(part), np.float32) @ part, len(part)

    for least, most, mean, count in ordered_map(look, blocks(len(x)), jobs):
        if not (np.isfinite(least).all() and np.isfinite(most).all()):
            raise ImgretError("the sample holds NaN or infinite values")
        np.minimum(low, least, out=low)
        np.maximum(high, most, out=high)
        total += mean.astype(np.float64) * count
    largest = max(abs(float(low.min())), abs(float(high.max())))
    if largest > LARGEST:
        raise ImgretError(f"the sample holds values as large as {largest:.3g}: scale them below {LARGEST:g}")
    # At most 2^60: values too small for that are as good as zero.
    scale = 2.0 ** min(-math.frexp(largest)[1], 60) if largest else 1.0
    # Clipped, so that a constant column is exactly 0 in the frame.
    return Frame(np.clip((total / len(x)).astype(np.float32), low, high), scale, low == high)
