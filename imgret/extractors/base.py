"""What an extractor gives."""

import dataclasses

import numpy as np

KEYPOINT_COLUMNS = ("x", "y", "scale", "angle", "score")


@dataclasses.dataclass(frozen=True)
class LocalFeatures:
    """The local features of one photo.

    Attributes
    ----------
    keypoints : ndarray, shape (T, 5), float32
        x, y in pixels of the upright photo at full size (centre of the top-left pixel at 0, 0), scale (sigma in pixels), angle (degrees,
        NaN where there is none), score (the detector's response).
    descriptors : ndarray, shape (T, D)
        As stored; an extractor's `decode` turns them into what encoders take.
    """

    keypoints: np.ndarray
    descriptors: np.ndarray


def to_full_size(xy, photo):
    """Pixel coordinates of the reduced photo to those at full size (pixel centres at whole numbers in both)."""
    height, width = photo.pixels.shape[:2]
    factor = np.array([photo.size[0] / width, photo.size[1] / height], dtype=np.float64)
    return (xy + 0.5) * factor - 0.5, float(np.sqrt(factor.prod()))
