"""An entry's angle and scale in two bytes: what weak geometric consistency compares."""

import numpy as np

LOG_SCALE, ANGLE = 2, 3  # columns of a words store's geometry: 256 to an octave, 65536 to a turn


def quantised(geometry):
    """Angle and log scale (n, 2), uint8, of geometry (n, 4), uint16: 256 steps to a turn, 16 to an octave from 1/256 of a pixel on."""
    out = np.empty((len(geometry), 2), np.uint8)
    out[:, 0] = geometry[:, ANGLE] >> 8
    out[:, 1] = np.minimum(geometry[:, LOG_SCALE] >> 4, 255)
    return out
