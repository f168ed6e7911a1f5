"""Histogram of oriented gradients of a whole photo, computed by OpenCV."""

import dataclasses

from imgret import registry
from imgret.errors import UsageError
from imgret.extractors.base import Extractor
from imgret.extractors.cells import square, unit
from imgret.registry import param


class Hog(Extractor):
    """Histogram of oriented gradients (HOG).

    The photo is resized to a square, whatever its proportions. Gradients of the square root of its pixels vote with their length, linearly
    interpolated, into cells and orientations; blocks of 2 x 2 cells, one cell apart, are weighted by a Gaussian (sigma half a cell) and
    normalised by L2-Hys (L2, cut at 0.2, L2 again). The vector has the blocks column by column, the cells of each likewise, then the
    orientations, and unit L2 norm as a whole. A photo without gradients has none.

    References
    ----------
    Dalal & Triggs, Histograms of oriented gradients for human detection, CVPR 2005, section 6.
    """

    name = "hog"
    reduces = False
    gives = "vectors"
    _hog = None  # made when it is first needed

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Parameters of HOG."""

        side: int = param(128, "side of the square in pixels, a multiple of `cell`", minimum=16, maximum=256)
        cell: int = param(16, "side of a cell in pixels", minimum=4, maximum=128)
        orientations: int = param(9, "bins of orientation in a cell", minimum=2, maximum=36)
        signed: bool = param(False, "orientations over 360 degrees instead of 180")

        def __post_init__(self):
            super().__post_init__()
            if self.side % self.cell or self.side < 2 * self.cell:
                raise UsageError(f"`side` must be a multiple of `cell` and hold at least two, got {self.side} and {self.cell}")

    @property
    def dim(self):
        """Length of the vector: blocks times 4 cells times orientations."""
        return (self.params.side // self.params.cell - 1) ** 2 * 4 * self.params.orientations

    def extract(self, photo):
        """Vector of one photo, not negative; see `Extractor.extract`.

        Raises
        ------
        BadPhoto
            `no-descriptors`: there is no gradient.
        """
        pixels = square(photo.pixels, self.params.side)
        return unit(self._descriptor().compute(pixels), "it has no gradients")

    def _descriptor(self):
        if self._hog is None:
            import cv2

            side, cell = (self.params.side,) * 2, (self.params.cell,) * 2
            block = (2 * self.params.cell,) * 2
            # derivAperture 1, winSigma -1 (a quarter of the block), histogramNormType 0 (L2-Hys), threshold, gammaCorrection, nlevels
            self._hog = cv2.HOGDescriptor(side, block, cell, cell, self.params.orientations, 1, -1, 0, 0.2, True, 64, self.params.signed)
        return self._hog
