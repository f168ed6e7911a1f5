"""Where a local feature is, how large and how turned, in the eight bytes that a visual word carries along."""

import numpy as np

from imgret.errors import ImgretError

LOWEST, STEPS = -8, 256  # log2 of the smallest scale, and steps of an octave
TURN = 1 << 16  # steps of a turn
MOST = TURN - 1
COLUMNS = ("x", "y", "log scale", "angle")


def quantised(features):
    """The geometry of a photo's local features.

    Parameters
    ----------
    features : imgret.features.LocalFeatures

    Returns
    -------
    ndarray, shape (T, 4), uint16
        x and y in pixels, rounded, within 0 and 65535; (log2 of the scale + 8) · 256, rounded; the angle in 65536ths of a turn.

    Raises
    ------
    ImgretError
        If the features have no scale, or no angle.
    """
    scale, angle = features.column("scale"), features.column("angle")
    for name, column in (("scale", scale), ("angle", angle)):
        if not np.isfinite(column).all():
            raise ImgretError(f"the local features have no {name}, and so no geometry to be kept: leave it out with --set geometry=false")
    kept = np.empty((len(features), 4), np.uint16)
    kept[:, :2] = np.clip(np.rint(features.keypoints[:, :2]), 0, MOST)
    with np.errstate(divide="ignore"):
        kept[:, 2] = np.clip(np.rint((np.log2(np.maximum(scale, 0), dtype=np.float64) - LOWEST) * STEPS), 0, MOST)
    kept[:, 3] = np.rint(angle.astype(np.float64) / 360 * TURN).astype(np.int64) % TURN
    return kept


def octaves(kept):
    """log2 of the scales (sigma in pixels) of what was kept, (T, 4): (T,), float32."""
    return kept[:, 2] / np.float32(STEPS) + np.float32(LOWEST)


def scales(kept):
    """Scales (sigma in pixels) of what was kept, (T, 4): (T,), float32."""
    return np.exp2(octaves(kept))


def angles(kept):
    """Angles in degrees of what was kept, (T, 4): (T,), float32."""
    return kept[:, 3] * np.float32(360 / TURN)
