"""Colour histogram in HSV, counted by OpenCV."""

import dataclasses

from imgret import registry
from imgret.errors import UsageError
from imgret.extractors.base import Extractor, longest_side
from imgret.extractors.cells import unit
from imgret.registry import param


class HsvHist(Extractor):
    """HSV colour histogram.

    A joint histogram of hue, saturation and value, in bins of the same width; value varies fastest, then saturation. All three have 256
    levels, hue over the whole circle; grey has hue 0. The shares of the bins sum to one (L1) and their square root is taken (Hellinger
    kernel): the vector has unit L2 norm, and the dot product of two is the Bhattacharyya coefficient of the two histograms.

    References
    ----------
    Swain & Ballard, Color indexing, IJCV 1991 (joint colour histograms); Smith & Chang, VisualSEEk, ACM Multimedia 1996
    (HSV); Arandjelović & Zisserman, CVPR 2012, section 2 (Hellinger kernel by the square root).
    """

    name = "hsv-hist"
    gives = "vectors"
    grey = False

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Parameters of the HSV histogram."""

        max_size: int = longest_side(512, maximum=16384)
        bins: tuple[int, ...] = param((8, 4, 4), "bins of hue, saturation and value", minimum=1, maximum=32)

        def __post_init__(self):
            super().__post_init__()
            if len(self.bins) != 3:
                raise UsageError(f"`bins` must hold three values (hue, saturation, value), got {len(self.bins)}")

    @property
    def dim(self):
        """Length of the vector: the product of the numbers of bins."""
        hue, saturation, value = self.params.bins
        return hue * saturation * value

    def extract(self, photo):
        """Vector of one photo, not negative; every photo has one. See `Extractor.extract`."""
        import cv2

        hsv = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2HSV_FULL)
        counts = cv2.calcHist([hsv], [0, 1, 2], None, list(self.params.bins), [0, 256] * 3)
        return unit((counts.ravel() / counts.sum()) ** 0.5, "it has no pixels")
