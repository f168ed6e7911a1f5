"""Moments of the colours in the cells of a grid."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.extractors.base import Extractor, longest_side
from imgret.extractors.cells import split, unit
from imgret.registry import param


class ColorMoments(Extractor):
    """Colour moments on a grid.

    For each cell (left to right, then top to bottom) and each channel the mean, the standard deviation and the cube root of the third
    central moment, all in units of the channel. The channels run from 0 to 1, a* and b* of Lab from -0.5 to 0.5 around grey; hue counts
    as a number from 0 to 1, not as an angle. The vector has unit L2 norm; a black photo has none.

    References
    ----------
    Stricker & Orengo, Similarity of color images, SPIE Storage and Retrieval for Image and Video Databases III, 1995 (the three moments
    of each channel, of a whole photo); Stricker & Dimai, Color indexing with weak spatial constraints, SPIE 1996 (of several regions).
    """

    name = "color-moments"
    gives = "vectors"
    grey = False

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Parameters of the colour moments."""

        max_size: int = longest_side(512, maximum=16384)
        color_space: str = param("lab", "colour space: CIE L*a*b*, or HSV as in the paper", choices=("lab", "hsv"))
        grid: int = param(3, "cells along each side", minimum=1, maximum=16)

    @property
    def dim(self):
        """Length of the vector: three moments of three channels in each cell."""
        return 9 * self.params.grid**2

    def extract(self, photo):
        """Vector of one photo: per cell and channel mean, standard deviation, skewness. See `Extractor.extract`.

        Raises
        ------
        BadPhoto
            `no-descriptors`: a black photo.
        """
        import cv2

        lab = self.params.color_space == "lab"
        channels = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2LAB if lab else cv2.COLOR_RGB2HSV_FULL)
        found = []
        for cell in split(channels, self.params.grid):
            for channel in range(3):
                counts = cv2.calcHist([cell], [channel], None, [256], [0, 256]).ravel()  # of the 256 levels: exact, and small
                found += _moments((np.arange(256) - (128 if lab and channel else 0)) / 255, counts.astype(np.float64))
        return unit(found, "it is black")


def _moments(levels, counts):
    """Mean, standard deviation and cube root of the third central moment of `levels` that are there `counts` times."""
    shares = counts / counts.sum()
    mean = shares @ levels
    return [mean, np.sqrt(shares @ (levels - mean) ** 2), np.cbrt(shares @ (levels - mean) ** 3)]
