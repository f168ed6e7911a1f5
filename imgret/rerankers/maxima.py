"""Maps of a network, put together again from their places, and rectangles of them: what they have at most of each channel."""

import functools

import numpy as np

from imgret import arrays
from imgret.errors import ImgretError
from imgret.networks.regions import rmac_regions

OFF = 0.1  # of a step: how far a place may be from where a grid has it
LEAST = 0.5  # of a grid's places: zero ones are left out by who makes the features, more than so many are something else


class Map:
    """A network's map of a photo.

    Parameters
    ----------
    features : imgret.features.LocalFeatures
        Its places: columns of unit norm, with x, y and their norm before (score).

    Attributes
    ----------
    values : ndarray, shape (H, W, C), float32
        No value is negative; zero where there is no feature.
    start, step : ndarray, shape (2,), float64
        x, y of the centre of the first place, and pixels between neighbours.
    size : ndarray, shape (2,), float64
        Width and height of the photo.

    Raises
    ------
    ImgretError
        If the features are no places of one grid.
    """

    def __init__(self, features):
        xy, strength = features.keypoints[:, :2].astype(np.float64), features.column("score")
        (x, left, across), (y, top, down) = _axis(xy[:, 0]), _axis(xy[:, 1])
        cells = y * (x.max(initial=0) + 1) + x
        shape = int(y.max(initial=0)) + 1, int(x.max(initial=0)) + 1
        alone = features.column("size").max(initial=1) if np.isfinite(features.column("size")).all() else 1.0
        self.step = np.array([across or down or alone, down or across or alone])
        self.start, self.size = np.array([left, top]), np.array(features.image_size, np.float64)
        off = np.abs(xy - self.start - np.stack([x, y], axis=1) * self.step).max(initial=0) > OFF * self.step.min()
        if off or not np.isfinite(strength).all() or len(np.unique(cells)) < len(cells) or len(cells) < LEAST * shape[0] * shape[1]:
            raise ImgretError(
                "max-regions takes all places of a network's map, and these features are no such grid: extract them with -m cnn "
                "--set pool=none, at one scale, without max_keypoints"
            )
        values = np.zeros((shape[0] * shape[1], features.descriptors.shape[1]), np.float32)
        values[cells.astype(np.int64)] = np.maximum(features.descriptors, 0) * strength[:, None]
        self.values = values.reshape(*shape, -1)

    def box(self, region):
        """x1, y1, x2, y2 in pixels of places from top, left to bottom, right (both beyond the last), within the photo."""
        top, left, bottom, right = region
        corners = self.start + (np.array([[left, top], [right, bottom]]) - 0.5) * self.step
        return np.clip(corners, -0.5, self.size - 0.5).reshape(4)

    def largest(self, region):
        """The largest value of each channel in a region, (C,), float32 (MAC)."""
        top, left, bottom, right = region
        return self.values[top:bottom, left:right].max(axis=(0, 1))

    def regional(self, region, levels):
        """The R-MAC vector of a region, (C,), float32, of unit norm."""
        top, left, bottom, right = region
        parts = [
            self.largest((top + down, left + across, top + down + side, left + across + side))
            for down, across, side in rmac_regions(bottom - top, right - left, levels).tolist()
        ]
        return arrays.unit_rows(arrays.unit_rows(np.stack(parts)).sum(axis=0)[None])[0]

    @property
    def whole(self):
        """The region that is all of it."""
        return np.array([0, 0, *self.values.shape[:2]])

    @functools.cached_property
    def _top(self):
        return np.maximum(self.largest(self.whole), np.finfo(np.float32).tiny)

    def integral(self, alpha):
        """Sums of all that is above and left of each place, (H + 1, W + 1, C), float64, of (x / largest)^alpha."""
        height, width, channels = self.values.shape
        sums = np.zeros((height + 1, width + 1, channels))
        np.power(self.values / self._top, np.float32(alpha), out=sums[1:, 1:])
        for row in range(1, height + 1):  # many times faster than `cumsum` along an axis that is not the last
            sums[row] += sums[row - 1]
        for column in range(1, width + 1):
            sums[:, column] += sums[:, column - 1]
        return sums

    def likeness(self, vector, regions, sums, alpha):
        """Cosines of a vector with regions' channels, each about the largest value there: (Σ x^alpha)^(1 / alpha).

        Parameters
        ----------
        vector : ndarray, shape (C,), float32
            Of unit norm.
        regions : ndarray, shape (R, 4), int64
        sums : ndarray, shape (H + 1, W + 1, C)
            The `integral`.
        alpha : float

        Returns
        -------
        ndarray, shape (R,), float64
        """
        top, left, bottom, right = regions.T
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        pooled = np.maximum(inside, 0).astype(np.float32) ** np.float32(1 / alpha) * self._top
        norms = np.sqrt(np.einsum("rc,rc->r", pooled, pooled))
        return pooled @ vector / np.maximum(norms, np.finfo(np.float32).tiny)


def _axis(places):
    """For places along an axis: which step each is at, where the first is, and how long a step is (0 where there is one)."""
    distinct = np.unique(places)
    if len(distinct) < 2:
        return np.zeros(len(places)), float(distinct[0]) if len(distinct) else 0.0, 0.0
    step = float(np.diff(distinct).min())
    steps = np.rint((places - distinct[0]) / step)
    step = float((distinct[-1] - distinct[0]) / steps.max())  # to all digits
    return steps, float(distinct[0]), step
