"""Local features of a photo: the one form in which extractors give them, stores give them back and encoders take them."""

import functools

import numpy as np

NO_DESCRIPTORS = "no local feature was found in it"  # why a photo is in `failed`


class LocalFeatures:
    """The local features of one photo (or some of those of many, where a sample is drawn).

    Parameters
    ----------
    keypoints : ndarray, shape (T, P), float32, or a function that gives it
        In pixels of the upright photo at full size, the centre of the top-left pixel at (0, 0). A function is called when keypoints are
        first looked at: many encoders never do, and need not wait for them.
    stored : ndarray, shape (T, D)
        The descriptors as a store holds them.
    columns : tuple of str
        What the P columns of `keypoints` are: x, y, then what is known of scale (sigma in pixels), size (side of the described square in
        pixels), angle (degrees, NaN where there is none), score.
    image_size : tuple of int, optional
        Width and height of the upright photo at full size; None for a sample of many photos.
    decode : callable, optional
        `stored` to what encoders take, (T, D) float32; the same numbers as float32 without it.

    Attributes
    ----------
    descriptors : ndarray, shape (T, D), float32
        Decoded (RootSIFT of SIFT, say).
    """

    def __init__(self, keypoints, stored, columns, image_size=None, decode=None):
        self.stored, self.columns, self.image_size = stored, tuple(columns), image_size
        self._keypoints, self._decode = keypoints, decode

    def __len__(self):
        return len(self.stored)

    @functools.cached_property
    def keypoints(self):
        """Keypoints (T, P), float32."""
        return self._keypoints() if callable(self._keypoints) else self._keypoints

    @functools.cached_property
    def descriptors(self):
        """Decoded descriptors (T, D), float32."""
        return self.stored.astype(np.float32) if self._decode is None else self._decode(self.stored)

    def within(self, box):
        """Those that lie in a box, x1, y1, x2, y2 in pixels; all of them where it is NaN."""
        if not np.isfinite(box).all():
            return self
        x, y = self.keypoints[:, 0], self.keypoints[:, 1]
        kept = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
        return LocalFeatures(self.keypoints[kept], self.stored[kept], self.columns, self.image_size, self._decode)

    def column(self, name):
        """One column of the keypoints, (T,) float32; NaN where the extractor does not give it."""
        if name not in self.columns:
            return np.full(len(self), np.nan, np.float32)
        return self.keypoints[:, self.columns.index(name)]
