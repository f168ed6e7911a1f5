"""SIFT on a regular grid at several scales, computed by OpenCV."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.arrays import rootsift
from imgret.errors import UsageError
from imgret.extractors.base import in_box, longest_side, to_full_size
from imgret.extractors.sift import SiftDescriptors
from imgret.registry import SAMPLING, param

BLUR = 1.6  # sigma of the first octave in pixels


class DenseSift(SiftDescriptors):
    """Upright SIFT descriptors on a regular grid, at several bin sizes.

    A bin of b pixels is what a keypoint of sigma b / 3 has (Lowe, section 6.1: bins are three sigmas wide), and the photo is blurred
    to match it. Grid points whose descriptor would reach beyond the photo are left out, and so are those in areas without any
    gradient.

    References
    ----------
    Bosch, Zisserman & Muñoz, Image classification using random forests and ferns, ICCV 2007 (dense SIFT at several scales);
    Lowe, IJCV 2004.
    """

    name = "dense-sift"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Parameters of dense SIFT."""

        max_size: int = longest_side(512)
        step: int = param(8, "distance between grid points in pixels", role=SAMPLING, minimum=1)
        bins: tuple[float, ...] = param((4.0, 6.0, 8.0, 10.0), "sizes of a descriptor's bins in pixels", role=SAMPLING, minimum=1)
        rootsift: bool = param(True, "read as RootSIFT")

        def __post_init__(self):
            super().__post_init__()
            if not self.bins:
                raise UsageError("`bins` must hold at least one value")

    def extract(self, photo):
        """Local features of one photo, in order of bin size, y, x; the score is 0. See `Extractor.extract`."""
        import cv2

        height, width = photo.pixels.shape[:2]
        keypoints, sides = [], []
        for size in self.params.bins:
            sigma = size / 3
            level = max(0, round(3 * np.log2(sigma / BLUR)))
            octave = (level // 3) | (level % 3) << 8  # as OpenCV packs octave and layer
            # four bins across, and half a bin around them that interpolation reaches
            for y in _grid(height, self.params.step, 2.5 * size):
                for x in _grid(width, self.params.step, 2.5 * size):
                    keypoints.append(cv2.KeyPoint(float(x), float(y), 2 * sigma, 0.0, 0.0, octave))
                    sides.append(2.5 * size)
        if not keypoints:
            return self.nothing(photo)
        if self._sift is None:
            self._sift = cv2.SIFT_create(sigma=BLUR, enable_precise_upscale=True)
        keypoints, descriptors = self._sift.compute(photo.pixels, keypoints)
        table = np.array([(*point.pt, point.size / 2, np.nan, 0.0) for point in keypoints], dtype=np.float64)
        # rounding in the blur leaves traces on a flat area, which normalisation would make a descriptor of
        filled = descriptors.any(axis=1) & _varied(photo.pixels, table[:, :2], np.array(sides))
        table[:, :2], factor = to_full_size(table[:, :2], photo)
        table[:, 2] *= factor
        filled &= in_box(table[:, :2], photo)
        return self.local(table[filled], descriptors[filled], photo)

    def decode(self, stored):
        """Stored descriptors (T, 128) as float32, RootSIFT where asked."""
        return rootsift(stored) if self.params.rootsift else super().decode(stored)


def _varied(pixels, xy, sides):
    """For each place, whether the square of half side `sides` around it, which lies inside the photo, has two different pixels."""
    changes = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1), dtype=np.int64)
    changes[1:, 2:] += pixels[:, 1:] != pixels[:, :-1]
    changes[2:, 1:] += pixels[1:] != pixels[:-1]
    total = changes.cumsum(axis=0).cumsum(axis=1)
    (left, top), (right, bottom) = np.floor(xy - sides[:, None]).astype(int).T, np.ceil(xy + sides[:, None]).astype(int).T + 1
    left, top = np.maximum(left, 0), np.maximum(top, 0)
    right, bottom = np.minimum(right, pixels.shape[1]), np.minimum(bottom, pixels.shape[0])
    return total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left] > 0


def _grid(length, step, margin):
    """Whole positions from `margin` to `length - 1 - margin`, `step` apart, centred."""
    room = length - 1 - 2 * margin
    if room < 0:
        return np.zeros(0, dtype=np.int64)
    count = int(room // step) + 1
    return (np.arange(count) * step + round(margin + (room - (count - 1) * step) / 2)).astype(np.int64)
