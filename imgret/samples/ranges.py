"""The range of deep samples: what is black, and what is white.

A type of 16 bits says little: cameras put 10, 12 or 14 bits into it, and floats are measured in anything. White is the first of these
that is known: what the file declares (where no sample lies above it); the least of `DEPTHS` that holds the largest sample; what the
type can hold. So a picture is never darker than a quarter of what its depth allows, and one of 16 bits that uses them stays as it is.
"""

import dataclasses

import numpy as np

DEPTHS = (8, 10, 12, 14, 16, 24)  # bits that samples in a larger type are taken to have
FLOAT_WHITES = (1 / 64, 1 / 16, 1 / 4, 1.0)  # floats that are no larger than 1
WHOLE_WHITES = tuple(2.0**depth - 1 for depth in DEPTHS)
DIMMEST = 64  # floats above 1 and below this are measured in something else: the largest of them is white
NEGATIVE = 1 / 16  # a share of white: below minus that, samples lie about zero; above it they are what a filter overshot


@dataclasses.dataclass(frozen=True)
class Extent:
    """The least and the largest of some samples; NaN and infinities are left out.

    Attributes
    ----------
    low, high : int or float
        0 where there are none.
    """

    low: float
    high: float

    @classmethod
    def of(cls, arrays):
        """The extent of all samples of some arrays."""
        lows, highs = [], []
        for array in arrays:
            finite = array if array.dtype.kind != "f" else array[np.isfinite(array)]
            if finite.size:
                lows.append(finite.min().item())
                highs.append(finite.max().item())
        return cls(min(lows, default=0), max(highs, default=0))


@dataclasses.dataclass(frozen=True)
class Scale:
    """Samples to 8 bits.

    Attributes
    ----------
    black, white : int or float
        What becomes 0 and 255; the other way round where `inverted`.
    inverted : bool
    """

    black: float
    white: float
    inverted: bool = False

    def to_bytes(self, samples):
        """Samples of any type and shape as uint8."""
        span = self.white - self.black
        if samples.dtype.kind != "f" and span >= 255 and not span & (span + 1):
            if samples.dtype.kind == "i" or self.black:
                samples = (np.clip(samples.astype(np.int64), self.black, self.white) - self.black).astype(np.uint64)
            most = min(span, np.iinfo(samples.dtype).max)
            scaled = (np.minimum(samples, samples.dtype.type(most)) >> samples.dtype.type(span.bit_length() - 8)).astype(np.uint8)
        else:
            samples = samples.astype(np.float64 if samples.dtype.itemsize > 4 else np.float32)
            samples = np.nan_to_num(samples, nan=self.black, posinf=self.white, neginf=self.black)
            scaled = np.clip((samples - self.black) * (255.0 / span), 0, 255).astype(np.uint8)
        return 255 - scaled if self.inverted else scaled


def scale_of(extent, dtype, *, bits=None, declared=None, inverted=False):
    """The scale of samples.

    Parameters
    ----------
    extent : Extent
    dtype : numpy.dtype
    bits : int, optional
        What the file says that a sample has, where that is less than its type holds.
    declared : float, optional
        The largest value, as the file declares it.
    inverted : bool
        Whether the least value is white.
    """
    low, high = extent.low, extent.high
    if dtype.kind == "f":
        white = _declared(declared, high, float("inf")) or _white_of_floats(high)
        if low < -white * NEGATIVE:
            white = _white_of_floats(max(high, -low))
        return Scale(-white if low < -white * NEGATIVE else 0.0, white, inverted)
    bits = bits or 8 * dtype.itemsize
    full = 2 ** (bits - (dtype.kind == "i")) - 1
    top = max(high, -low - 1)
    white = _declared(declared, top, full)
    if white is None:  # where all are the same, there is nothing to go by
        depths = [2**depth - 1 for depth in DEPTHS] if low != high else []
        white = min((each for each in depths if top <= each < full), default=full)
    return Scale(-white - 1 if low < -white * NEGATIVE else 0, white, inverted)


def _declared(value, high, full):
    """What a file declares, where that can be true and says more than the type."""
    if value is None or not 0 < value < full or value < high:
        return None
    return int(value) if value == int(value) else float(value)


def _white_of_floats(high):
    if high <= 1:
        return min((each for each in FLOAT_WHITES if high <= each and high > FLOAT_WHITES[0] / 4), default=1.0)
    return float(high) if high < DIMMEST else min((each for each in WHOLE_WHITES if high <= each), default=float(high))
