"""CIE L*a*b* to sRGB."""

import numpy as np

WHITE = np.array([0.9642, 1.0, 0.8249])  # D50, of which the TIFF and ICC encodings speak
TO_RGB = np.array(  # XYZ of D50 to linear sRGB: adapted to its D65 by Bradford's matrix
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)


def to_rgb(lightness, a, b):
    """Convert from L*a*b*.

    Parameters
    ----------
    lightness, a, b : ndarray, shape (H, W), float
        L* from 0 to 100; a* and b* about 0.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        What sRGB cannot show is clipped.

    References
    ----------
    CIE 15:2004, section 8.2.1; IEC 61966-2-1 (sRGB).
    """
    y = (lightness + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * WHITE
    linear = np.clip(xyz @ TO_RGB.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)
